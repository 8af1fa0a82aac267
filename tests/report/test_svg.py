"""Plots within a page: its colours, no clash with other plots, and names that are text."""

from xml.etree import ElementTree

import pytest

from nnunetv2_mamba.report.svg import (
    INK,
    MODEL_COLOURS,
    colour,
    figure_of,
    inline_svg,
    marker,
    marker_path,
    page_style,
)


@pytest.fixture
def plot():
    def plot(name, titles=None):
        with page_style():
            figure = figure_of(300, 200)
            axes = figure.add_subplot()
            axes.scatter([0, 1], [0, 1], color=colour(0), urls=["#a", "#b"])
            axes.plot([0, 1], [1, 0], color=colour(6))
            axes.set_title("5 < 6 & <b>", color=INK)
            return inline_svg(figure, 'a "plot"', name, titles)

    return plot


def test_it_is_one_element_without_anything_from_outside(plot):
    svg = ElementTree.fromstring(plot("one"))
    assert svg.tag == "svg"
    assert svg.attrib["aria-label"] == 'a "plot"'
    assert not {element.tag for element in svg.iter()} & {"style", "metadata", "script"}
    assert "http" not in plot("one")


def test_colours_are_those_of_the_page(plot):
    text = plot("one")
    assert all(f"var(--{name})" in text for name in ("model-1", "model-7", "ink", "muted", "line"))
    assert "#0000" not in text
    assert "font-family" not in text


def test_references_stay_within_the_plot(plot):
    first, second = (ElementTree.fromstring(plot(name)) for name in ("one", "two"))
    ids = [{element.attrib["id"] for element in svg.iter() if "id" in element.attrib} for svg in (first, second)]
    assert not ids[0] & ids[1]
    used = {element.attrib["href"][1:] for element in first.iter() if element.tag == "use"}
    used |= {element.attrib["clip-path"][5:-1] for element in first.iter() if "clip-path" in element.attrib}
    assert used == ids[0]


def test_dots_are_links_with_a_title(plot):
    svg = ElementTree.fromstring(plot("one", {"#a": "case <a>", "#b": "case b"}))
    links = {link.attrib["href"]: link.find("title").text for link in svg.iter("a")}
    assert links == {"#a": "case <a>", "#b": "case b"}


def test_names_are_no_formulas():
    with page_style():
        figure = figure_of(300, 200)
        figure.add_subplot().set_xlabel("a$x_{$")
        assert "a$x_{$" in inline_svg(figure, "", "one")


def test_equal_plots_are_equal_text(plot):
    assert plot("one") == plot("one")


def test_models_beyond_the_colours_have_another_marker():
    looks = [(colour(place), marker(place)) for place in range(3 * MODEL_COLOURS)]
    assert len(set(looks)) == len(looks)
    assert len({marker_path(place) for place in range(MODEL_COLOURS)}) == MODEL_COLOURS
