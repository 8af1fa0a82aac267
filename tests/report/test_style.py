"""Plots are images inside the page, and models look different from each other."""

import base64
from xml.etree import ElementTree

from nnunetv2_mamba.report.style import COLOURS, colour, data_uri, figure_of, marker, page_style


def plot():
    with page_style():
        figure = figure_of(300, 200)
        figure.add_subplot().set_xlabel("a$x_{$ 5 < 6 & <b>")
        return data_uri(figure)


def test_a_plot_is_an_image_with_names_as_text():
    kind, _, content = plot().partition(",")
    assert kind == "data:image/svg+xml;base64"
    svg = ElementTree.fromstring(base64.b64decode(content))
    # Neither a formula nor markup.
    assert "a$x_{$ 5 < 6 & <b>" in [element.text for element in svg.iter()]


def test_equal_plots_are_equal_text():
    assert plot() == plot()


def test_models_of_the_same_colour_have_different_markers():
    looks = [(colour(place), marker(place)) for place in range(3 * len(COLOURS))]
    assert len(set(looks)) == len(looks)
