"""The page: whole, self-contained, and honest about what is not there."""

import json
import re
from dataclasses import replace

import pytest

from nnunetv2_mamba.evaluation.presets import variations
from nnunetv2_mamba.evaluation.protocol import Protocol, Strata
from nnunetv2_mamba.evaluation.targets import Target
from nnunetv2_mamba.report import write_report
from nnunetv2_mamba.report.overlays import KINDS
from nnunetv2_mamba.report.page import ReportPage
from nnunetv2_mamba.report.wording import DASH
from tests.report.models import TARGETS, model

NASTY = '<script>alert("x")</script> & \'{{ 7 * 7 }}\' "><img src=http://x.test/>'
STRICTER = [each for each in variations(Protocol()) if each.name in ("default", "one to one, IoU 0.5")]
COST = {"parameters": 27581234, "epoch_seconds": 12.3, "peak_memory_bytes": 3 * 2**30, "device": "cuda: A & B"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def good(folder):
    return model(folder, "nnUNetTrainerGood", 0.9, sensitivity=STRICTER, cost=COST)


@pytest.fixture(scope="module")
def bad(folder):
    return model(folder, "nnUNetTrainerBad", 0.4, sensitivity=STRICTER, seed=3)


@pytest.fixture(scope="module")
def both(folder, page):
    """Two models, one of them with a known cost, on two targets, under several protocols."""
    settings = {"sensitivity": variations(Protocol())[:3], "targets": TARGETS}
    good = model(folder / "two", "nnUNetTrainerGood", 0.9, **settings, cost=COST)
    return page(ReportPage([good, model(folder / "two", "nnUNetTrainerBad", 0.4, **settings, seed=3)]).html())


def plain(source, **changes):
    """The same model with another summary, and without what takes time: pictures and other protocols."""
    return replace(source, reader=None, summary=source.summary | {"sensitivity": None} | changes)


def with_froc(source):
    """The same model with a curve for its first target."""
    summary = json.loads(json.dumps(source.summary))
    summary["targets"]["lesion"]["froc"] = {
        "cases": 9,
        "thresholds": [0.1, 0.5, 0.9],
        "lesion_recall": [0.95, 0.9, None],
        "fp_per_case": [4.0, 0.4, 0.0],
    }
    return replace(source, summary=summary)


def ids(page):
    return [element.attributes["id"] for element in page.elements if "id" in element.attributes]


def test_it_needs_nothing_from_outside(both):
    for element in both.elements:
        assert element.tag not in ("link", "iframe", "object", "embed", "base")
        for name in ("src", "href", "xlink:href", "srcset", "action", "poster", "data"):
            assert (element.attributes.get(name) or "#").startswith(("#", "data:image/"))
    style = "".join(element.text for element in both.all("style"))
    style += "".join(element.attributes.get("style") or "" for element in both.elements)
    assert "@import" not in style
    assert set(re.findall(r"url\((.)", style)) <= {"#"}
    (policy,) = [e for e in both.all("meta") if e.attributes.get("http-equiv") == "Content-Security-Policy"]
    assert policy.attributes["content"].startswith("default-src 'none'; img-src data:;")


def test_every_place_is_there_once_and_every_link_leads_to_one(both):
    places = ids(both)
    assert len(set(places)) == len(places)
    links = {element.attributes["href"] for element in both.elements if "href" in element.attributes}
    assert {link for link in links if not link.startswith("data:")} <= {f"#{place}" for place in places}


def test_sections_are_those_that_have_something_to_say(both, good, page):
    sections = [element.attributes["id"] for element in both.all("section")]
    assert sections == [
        *("outcome", "models", "pairs", "sizes", "cases", "pictures", "sensitivity", "rules", "definitions")
    ]
    alone = replace(good, reader=None, summary=good.summary | {"sensitivity": None})
    sections = [element.attributes["id"] for element in page(ReportPage([alone]).html()).all("section")]
    assert sections == ["outcome", "models", "sizes", "cases", "rules", "definitions"]


def test_a_card_counts_lesions(both, good):
    counts = good.cases("lesion").counts
    true_positives, lesions = int(counts["true_positive_lesions"].sum()), int(counts["lesions"].sum())
    card = both.all("article", class_="card")[0]
    assert f"lesion recall: {true_positives} of {lesions} lesions are true positives" in card.text
    assert "By size: small" in card.text
    assert "Dice per lesion" in card.text


def test_differences_have_a_p_value_and_a_verdict(both):
    text = both.text("section", id="pairs").replace("\u00a0", " ")
    assert re.search(
        r"lesion recall ↑all cases together \+0\.\d+\+0\.\d+ to \+0\.\d+ 0\.\d+corrected more than chance", text
    )
    assert "for the 2 comparisons of this page (all pairs of models on all targets, separately for each metric)" in text


def test_costs_are_shown_and_a_dash_where_they_are_not_known(both):
    rows = [" ".join(row.text.split()) for row in both.all("tr")]
    assert any(
        row.startswith("nnUNetTrainerGood") and row.endswith("27.58 M 12.3 s 3.0 GiB cuda: A & B") for row in rows
    )
    assert any(row.startswith("nnUNetTrainerBad") and row.endswith(" ".join([DASH] * 4)) for row in rows)


def test_the_four_way_table_counts_every_case(both, good):
    cells = good.summary["targets"]["lesion"]["cells"]
    assert sum(cells.values()) == 12
    expected = " ".join(str(number) for number in [*cells.values(), 12])
    assert f"nnUNetTrainerGood {expected}" in both.text("tr")


def test_metrics_are_defined(both, good):
    text = both.text("section", id="definitions")
    for name, metric in good.summary["metrics"].items():
        assert metric["label"] in text
        assert name in text
        assert " ".join(metric["definition"].split()) in text


def test_pictures_have_outlines_and_the_image_is_on_the_page_once(both):
    pictures = [place for place in ids(both) if place.startswith("picture-")]
    shown = [element.attributes["href"][1:] for element in both.all("use", class_="picture")]
    assert set(shown) == set(pictures)
    assert len(shown) > len(pictures)
    assert {element.attributes["class"] for element in both.all("g") if "class" in element.attributes} == set(KINDS)
    assert len(both.all("figure", class_="overlay")) == len(shown)


def test_a_change_of_the_order_of_models_is_said(good, bad):
    better = json.loads(json.dumps(bad.summary))
    entry = next(each for each in better["sensitivity"] if each["protocol"]["name"] == "one to one, IoU 0.5")
    entry["targets"]["lesion"]["pooled"] |= {"lesion_recall": 0.999, "lesion_f1": 0.001}
    html = ReportPage([good, replace(bad, summary=better)]).html()
    assert "lesion recall: nnUNetTrainerGood is above nnUNetTrainerBad, but below under “one to one, IoU 0.5”." in html
    assert "lesion F1: no protocol changes the order of the models." in html


def test_names_are_text_wherever_they_are_shown(tmp_path, page):
    cases = [f"{NASTY} {number}" for number in range(8)]
    source = model(tmp_path, "m", 0.6, cases, images=False, targets=[Target(NASTY, (1,))])
    one, other = replace(source, name=f"{NASTY} one"), replace(source, name="other & <b>")
    html = ReportPage([one, other]).html()
    parsed = page(html)
    assert len(parsed.all("script")) == 1
    assert parsed.all("b") == []
    assert all(image.attributes["src"].startswith("data:image/svg") for image in parsed.all("img"))
    assert "49" not in parsed.text("h4").replace(NASTY, "")
    assert NASTY in parsed.all("title")[0].text
    assert f"{NASTY} 3" in parsed.text("th")


def test_one_model_alone(good, page):
    alone = page(ReportPage([good]).html())
    assert "Pairs of models" not in alone.text()
    assert "fold" not in alone.text("section", id="outcome")
    assert "differ" not in alone.text("section", id="pictures")
    assert not alone.all("strong")


def test_many_models_fold_their_pairs(good, page):
    many = [replace(plain(good), name=f"model {number}") for number in range(4)]
    parsed = page(ReportPage(many).html())
    assert len(parsed.all("details", class_="pair")) == 6
    assert len(set(ids(parsed))) == len(ids(parsed))
    assert "No case differs, so there is nothing to test." in parsed.text()
    assert "no difference" in parsed.text("section", id="pairs")


def test_one_of_anything_is_no_plural(folder, page):
    models = [model(folder / "single", name, recall, cases=["a"]) for name, recall in (("one", 1), ("other", 0.5))]
    text = page(ReportPage([plain(each) for each in models]).html()).text()
    assert "on the 1 case that both have" in text
    assert not re.search(r"\b1 (cases|lesions|patients|models|voxels|pairs)\b", text)


def test_models_on_other_cases_are_compared_on_those_that_both_have(folder, good, page):
    cases = [f"case_{number:02d}" for number in range(6, 22)]
    other = model(folder / "other", "Other", 0.5, cases=cases)
    text = page(ReportPage([plain(good), plain(other)]).html()).text()
    assert "nnUNetTrainerGood on 12 and Other on 16; 6 are common to all" in text
    assert "on the 6 cases that both have" in text


def test_pairs_say_how_many_cases_each_number_is_of(both):
    text = both.text("section", id="pairs")
    assert "on the 12 cases that both have; both have a Dice in 10 of them." in text
    assert "mean of the 10 cases where both have it" in text
    assert re.search(r"equal in \d+ of 10 cases\.", text)


def test_models_without_a_common_case_are_shown_side_by_side(folder, good, page):
    other = model(folder / "apart", "Other", 0.5, cases=[f"eye_{number}" for number in range(7)])
    parsed = page(ReportPage([good, other]).html())
    assert "0 are common to all" in parsed.text()
    assert "Pairs of models" not in parsed.text()
    assert {"case_", "eye_"} == {re.match(r"(case_|eye_)", e.text)[0] for e in parsed.all("p", class_="about")[1:-1]}


def test_few_cases_have_no_intervals_and_the_page_says_so(folder, page):
    few = model(folder / "few", "few", 0.5, cases=["a", "b", "c"])
    parsed = page(ReportPage([few]).html())
    assert "no interval: fewer than 5 cases (or patients" in parsed.text()
    tables = parsed.text("section", id="models") + parsed.text("section", id="sizes")
    assert not re.search(r"[\d.]{5} to [\d.]{5}", tables)


def test_a_target_that_is_nowhere_is_no_error(good, page):
    summary = json.loads(json.dumps(good.summary))
    entry = summary["targets"]["lesion"]
    entry |= {"pooled": dict.fromkeys(entry["pooled"]), "mean": dict.fromkeys(entry["mean"])}
    entry["strata"] = [
        group | {"upper": None, "metrics": dict.fromkeys(group["metrics"]), "counts": dict.fromkeys(group["counts"], 0)}
        for group in entry["strata"]
    ]
    for case in summary["cases"]:
        entry = case["targets"]["lesion"]
        entry["metrics"] = dict.fromkeys(entry["metrics"])
        entry["counts"] = dict.fromkeys(entry["counts"], 0) | {"cases": 1}
    empty = replace(good, summary=summary, parts=[], reader=None)
    assert "There are no lesions." in page(ReportPage([empty, replace(empty, name="other")]).html()).text()


def test_the_curve_over_thresholds_is_there_where_probabilities_were(good, bad, page):
    parsed = page(ReportPage([plain(with_froc(good)), plain(bad)]).html())
    text = parsed.text("section", id="froc")
    assert "nnUNetTrainerGood has them for 9 of 12 cases, nnUNetTrainerBad has them for 0 of 12 cases" in text


def test_groups_of_images_are_called_so(folder, page):
    protocol = Protocol(strata=Strata(level="image"))
    parsed = page(ReportPage([plain(model(folder / "image", "m", 0.5, protocol=protocol))]).html())
    assert "images" in parsed.text("th")
    assert "By size" not in parsed.text("article", class_="card")


def test_draws_of_patients_are_said(good, bad, page):
    parsed = page(ReportPage([plain(good), plain(bad)], patient_of=lambda case: case[:6]).html())
    text = parsed.text()
    assert "of as many patients with replacement" in text
    assert "12 cases of 2 patients" in parsed.text("header")
    assert "intervals are too narrow" not in text
    assert "exchanges the results of a patient between the models" in text
    assert "of 2 patients (means of their cases)" in text
    assert "too few to tell" in text


def test_folds_are_said_and_models_that_have_seen_their_cases_are_marked(good, bad, page):
    models = [
        plain(good, folds=[0, 1]),
        plain(bad, folds=["all"]),
        replace(plain(bad, trained_on_cases=True), name="third"),
    ]
    parsed = page(ReportPage(models).html())
    assert "(nnUNetTrainerGood: folds 0 and 1; nnUNetTrainerBad: fold all)." in parsed.text()
    assert "nnUNetTrainerBad and third were trained on the cases of this page" in parsed.text()
    cards = [card.text for card in parsed.all("article", class_="card")]
    assert ["trained on these cases" in card for card in cards] == [False, True, True]


def test_the_file_is_written_whole_and_the_same_every_time(tmp_path, good):
    for name in ("one.html", "two.html"):
        write_report([good], tmp_path / name)
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["one.html", "two.html"]


def test_values_that_are_not_numbers_never_reach_the_page(both):
    assert not re.search(r"\b(nan|None|inf)\b", both.text())
