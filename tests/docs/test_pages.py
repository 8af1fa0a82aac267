"""Lines of the pages are short, and what the pages name exists: links, files, modules and commands."""

import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from nnunetv2_mamba.cli import COMMANDS
from tests.packaging.test_imports import RANK

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "CONTRIBUTING.md", *sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md"))]
GENERATED = re.compile(r"<!-- (?:Generated from here on|\w+: generated).*?(?=<!-- end|\Z)", re.DOTALL)
MODULE = re.compile(r"\b(nnunetv2_mamba(?:\.\w+)+)")
# A path from the root, or from the package, as the pages write it.
FILE = re.compile(r"`((?:\w[\w.-]*/)+[\w.-]+\.(?:py|md|json|png|toml|yaml|yml))`")
FOLDERS = ("nnunetv2_mamba", "trainers", "plans", "tests", "docs", "benchmarks")
# Files of the recipes, and of nnU-Net.
NOT_HERE = re.compile(
    r"latemamba|LateMamba|my_trainers/|gt_segmentations|/validation|^predictions/|nnunetv2_mamba_demo"
)

every_page = pytest.mark.parametrize("page", PAGES)


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def headings(page: Path) -> set[str]:
    """Names of the headings of a page in links."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", title.lower().strip())).replace("--", "-") for title in titles}


@every_page
def test_lines_are_short(page):
    lines = GENERATED.sub("", text_of(page)).splitlines()
    assert [line for line in lines if len(line) > 120 and not line.startswith("|")] == []


@every_page
def test_links_lead_somewhere_and_nothing_is_left_to_fill_in(page):
    text = text_of(page)
    assert not re.findall(r"^[A-Z]{6,}$|\bTODO\b", text, re.MULTILINE)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith("https://"):
            continue
        file, _, heading = link.partition("#")
        target = (ROOT / page).parent / file if file else ROOT / page
        assert target.exists(), link
        assert not heading or heading in headings(target), link


@every_page
def test_files_that_are_named_exist(page):
    ours = {file for file in FILE.findall(text_of(page)) if file.split("/")[0] in {*FOLDERS, *RANK}}
    places = (ROOT, ROOT / "nnunetv2_mamba")
    missing = {file for file in ours if not any((place / file).exists() for place in places)}
    assert {file for file in missing if not NOT_HERE.search(file)} == set()


@every_page
def test_modules_that_are_named_can_be_imported(page):
    assert {name for name in MODULE.findall(text_of(page)) if not NOT_HERE.search(name) and not exists(name)} == set()


def exists(name: str) -> bool:
    """Whether a dotted name is a module, or something in a module."""
    module, _, attribute = name.rpartition(".")
    if find_spec(module) is None:
        return exists(module)
    return hasattr(import_module(module), attribute) or find_spec(name) is not None


@every_page
def test_commands_that_are_named_exist(page):
    named = set(re.findall(r"^ {4}nnUNetv2_mamba ([\w-]+)", text_of(page), re.MULTILINE))
    assert named <= COMMANDS.keys()


def test_every_room_is_explained():
    page = text_of("docs/architecture.md")
    assert {room for room in RANK if f"`{room}`" not in page and f"`{room}/`" not in page} == set()


def test_the_site_has_every_page():
    configuration = text_of("zensical.toml")
    pages = set(re.findall(r'"([\w/-]+\.md)"', configuration))
    assert pages == {page.removeprefix("docs/") for page in PAGES if page.startswith("docs/")}
