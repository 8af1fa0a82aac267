"""Plots: labels that do not touch, points that mean little are hollow, and categories are not joined."""

import math
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.colors import to_hex

from nnunetv2_mamba.report import plots
from nnunetv2_mamba.report.svg import PAPER, colour, page_style


@pytest.mark.parametrize(
    ("low", "high"),
    [(1, 3), (11.7, 16.9), (5, 400), (1, 2e4), (0.02, 9), (2e3, 6e5), (1e3, 4e7), (30, 2e9), (1e-3, 1e12)],
)
def test_sizes_below_the_axis_do_not_touch(low, high):
    width = 400
    with page_style():
        ticks = plots.size_ticks(low, high, width)
    assert 1 <= len(ticks) <= 14
    assert all(low <= tick <= high for tick in ticks)
    places = [math.log(tick / low) / math.log(high / low) * width for tick in ticks]
    for (one, two), (tick, following) in zip(pairwise(places), pairwise(ticks), strict=True):
        assert two - one > 6.2 * (len(f"{tick:,.10g}") + len(f"{following:,.10g}")) / 2


def test_points_of_merged_components_are_hollow():
    merged = np.array([True, False, False])
    curve = plots.Froc(np.array([0.0, 2, 1]), np.array([1.0, 0.9, 0.6]), np.array([1.5, 0.8]), merged, True)
    with page_style():
        (axes,) = plots.froc({0: curve}).axes
    line, *points = axes.lines
    # As the threshold rises, not as the inventions do: the curve turns back where components merge.
    assert line.get_xdata().tolist() == [0, 2, 1]
    hollow = [(p.get_xdata().tolist(), p.get_markerfacecolor() == PAPER) for p in points]
    assert hollow == [([2, 1], False), ([0], True), ([1.5], True)]


def test_protocols_are_not_joined():
    with page_style():
        (axes,) = plots.by_protocol([("one", [0.1, 0.2]), ("two", [0.3, 0.2])], "F1").axes
    assert [line.get_linewidth() for line in axes.lines] == [0, 0]
    first, second = (line.get_ydata() for line in axes.lines)
    assert (first != second).all()


def test_a_case_has_the_colour_of_the_model_that_is_better_in_it():
    values = np.array([[0.9, 0.2, math.nan, 0.8], [0.4, 0.6, 0.5, 0.1]])
    with page_style():
        (axes,) = plots.paired_values(2, 5, values, ["#a", "#b", "#c", "#d"], ("one", "other"), "Dice").axes
    dots = {to_hex(each.get_facecolor()[0]): each for each in axes.collections}
    assert dots[colour(2)].get_offsets().tolist() == [[0.4, 0.9], [0.1, 0.8]]
    assert dots[colour(5)].get_offsets().tolist() == [[0.6, 0.2]]
    assert dots[colour(2)].get_urls() == ["#a", "#d"]
