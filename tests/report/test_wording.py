"""Numbers in words."""

import math

import pytest

from nnunetv2_mamba.report import wording


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.12345, "0.123"),
        (0.99999, "0.99999"),
        (0.999999, "0.99999"),
        (1.0, "1.000"),
        (0, "0.000"),
        (12.345, "12.35"),
        (12345.6, "12,346"),
        (-0.5, "-0.500"),
        (-0.0001, "0.000"),
        (math.inf, "∞"),
        (math.nan, wording.DASH),
        (None, wording.DASH),
    ],
)
def test_numbers(value, text):
    assert wording.number(value) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.5, "50 %"), (0.999, "99 %"), (0.001, "1 %"), (0, "0 %"), (1, "100 %"), (math.nan, wording.DASH)],
)
def test_shares_that_are_not_all_or_nothing_do_not_look_like_it(share, text):
    assert wording.percent(share) == text


def test_lists_and_counts():
    assert [wording.listing(list("abc")[:n]) for n in range(4)] == ["", "a", "a and b", "a, b and c"]
    assert (wording.count(1, "case"), wording.count(1200, "case")) == ("1 case", "1,200 cases")
