"""The page in a real browser: narrow, dark, printed, and with its pictures enlarged."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from nnunetv2_mamba.evaluation.presets import variations
from nnunetv2_mamba.evaluation.protocol import Protocol
from nnunetv2_mamba.report import write_report
from tests.report.browser import Browser, executable
from tests.report.models import TARGETS, model

COST = {"parameters": 31_000_000, "epoch_seconds": 9.5, "peak_memory_bytes": 2**33, "device": "cuda: A Very Long Name"}
PHONE = {"width": 390, "height": 844}
SHOWN = ".of-target:not([hidden]) .overlay"

pytestmark = pytest.mark.skipif(executable() is None, reason="no Chromium or Chrome is installed")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Two models with long names, on two targets, under several protocols."""
    folder = tmp_path_factory.mktemp("page")
    settings = {"sensitivity": variations(Protocol())[:2], "targets": TARGETS}
    names = (
        "nnUNetTrainerSomethingVeryLongIndeed__nnUNetResEncUNetLPlans__3d_fullres",
        "averyveryverylongnamewithoutanyplacetobreakit" * 2,
    )
    models = [
        model(folder, name, recall, **settings, cost=COST) for name, recall in zip(names, (0.9, 0.4), strict=True)
    ]
    summary = models[0].summary
    summary["targets"]["lesion"]["froc"] = {"cases": 12, "lesion_recall": [0.95, 0.5], "fp_per_case": [8.0, 0.1]}
    write_report([replace(models[0], summary=summary), models[1]], folder / "report.html")
    return folder / "report.html"


@pytest.fixture(scope="module")
def browser():
    with Browser(executable()) as browser:
        yield browser


@pytest.fixture(autouse=True)
def _nothing_goes_wrong_and_nothing_is_fetched(browser):
    browser.events.clear()
    yield
    browser.value("0")
    wrong = [event for event in browser.events if event["method"] in ("Runtime.exceptionThrown", "Log.entryAdded")]
    assert wrong == []
    requested = [e["params"]["request"]["url"] for e in browser.events if e["method"] == "Network.requestWillBeSent"]
    assert all(url.startswith(("file:", "data:")) for url in requested)
    assert sum(url.startswith("file:") for url in requested) == 1


def overflowing(browser):
    """Elements that reach beyond the page although nothing around them scrolls."""
    return browser.value(
        "[...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll, .store, .targets, svg')"
        " && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 120))"
    )


@pytest.mark.parametrize("unfolded", [False, True], ids=["folded", "unfolded"])
def test_a_phone_shows_all_of_it_without_scrolling_sideways(browser, page, unfolded):
    browser.open(page, **PHONE)
    if unfolded:
        browser.value("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.value("innerWidth") == 390
    assert browser.value("document.documentElement.scrollWidth") == 390
    assert overflowing(browser) == []


def test_heads_of_tables_are_not_taller_than_a_few_rows(browser, page):
    browser.open(page, **PHONE)
    heights = browser.value(
        "[...document.querySelectorAll('thead')].filter(e => e.offsetParent && !e.closest('details:not([open])'))"
        ".map(e => e.getBoundingClientRect().height)"
    )
    assert len(heights) >= 5
    assert max(heights) < 101


def test_a_wide_page_needs_no_scrolling(browser, page):
    browser.open(page)
    wide = "[...document.querySelectorAll('#models .scroll, #sizes .scroll, #pairs .scroll')]"
    folded = "e.closest('details:not([open])')"
    assert browser.value(f"{wide}.filter(e => !{folded} && e.scrollWidth > e.clientWidth + 1).length") == 0


@pytest.mark.parametrize("how", ["click", "key"])
def test_a_picture_becomes_large_and_small_again(browser, page, how):
    browser.open(page)
    width = f"document.querySelector('{SHOWN}').getBoundingClientRect().width"
    widths = [browser.value(width)]
    for _ in range(2):
        if how == "click":
            browser.click(f"{SHOWN} svg")
        else:
            browser.value(f"document.querySelector('{SHOWN} input').focus({{preventScroll: true}})")
            browser.press(" ", 32)
        widths.append(browser.value(width))
    assert widths[1] > 2 * widths[0]
    assert widths[2] == widths[0]


def test_plots_are_shown(browser, page):
    browser.open(page)
    shown = "[...document.querySelectorAll('img.plot')].filter(e => e.offsetParent)"
    assert browser.value(f"{shown}.length") >= 4
    assert browser.value(f"{shown}.every(e => e.complete && e.naturalWidth > 100 && e.clientWidth > 300)")


def test_one_target_is_shown_at_a_time_and_all_in_print(browser, page):
    visible = "[...document.querySelectorAll('#outcome .of-target')].map(e => e.offsetParent !== null)"
    browser.open(page)
    assert browser.value(visible) == [True, False]
    browser.click(".targets label:last-child")
    assert browser.value(visible) == [False, True]
    browser.call("Emulation.setEmulatedMedia", {"media": "print"})
    assert browser.value(visible) == [True, True]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_and_background_follow_the_reader(browser, page, tmp_path, dark):
    browser.open(page, dark=dark)
    browser.screenshot(tmp_path / "page.png")
    pixels = np.asarray(Image.open(tmp_path / "page.png").convert("L"))
    assert (np.median(pixels) < 60) == dark
    # Something is written in letters that stand out from the background.
    assert (abs(pixels.astype(int) - int(np.median(pixels))) > 120).mean() > 0.005
