"""Plots show the values that they are given."""

import math

import numpy as np
from matplotlib.colors import to_hex

from nnunetv2_mamba.report import plots
from nnunetv2_mamba.report.style import colour

NAMES = ["one", "two", "three", "four", "five", "six"]


def test_a_case_has_the_colour_of_the_model_that_is_better_in_it():
    values = np.array([[0.9, 0.2, math.nan, 0.8], [0.4, 0.6, 0.5, 0.1]])
    (axes,) = plots.paired_values(2, 5, values, NAMES, "Dice").axes
    dots = {to_hex(each.get_facecolor()[0]): each.get_offsets().tolist() for each in axes.collections}
    assert dots == {colour(2): [[0.4, 0.9], [0.1, 0.8]], colour(5): [[0.6, 0.2]]}
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("Dice, three", "Dice, six")


def test_the_curve_follows_the_thresholds_and_not_the_false_positives():
    curve = plots.Froc(np.array([0.0, 2, 1]), np.array([1.0, 0.9, 0.6]), np.array([1.5, 0.8]))
    (axes,) = plots.froc({0: curve}, NAMES).axes
    line, point = axes.lines
    assert line.get_xdata().tolist() == [0, 2, 1]
    assert (point.get_xdata().tolist(), point.get_ydata().tolist()) == ([1.5], [0.8])


def test_a_long_name_keeps_both_ends():
    name = plots.short("nnUNetTrainer" * 5 + "_fold_0")
    assert (len(name), name[:5], name[-7:]) == (36, "nnUNe", "_fold_0")
