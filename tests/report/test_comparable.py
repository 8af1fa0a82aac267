"""Models are only compared where their numbers mean the same."""

import json
from dataclasses import replace

import pytest

from nnunetv2_mamba.report.page import ReportPage
from tests.report.models import model


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return replace(model(tmp_path_factory.mktemp("models"), "nnUNetTrainerGood", 0.9), reader=None)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"protocol_hash": "other"}, "protocol"),
        ({"unit": "mm"}, "unit"),
        ({"targets": {"x": {}}}, "targets"),
        ({"targets": {"lesion": {"labels": [2]}}}, "labels"),
        ({"ignore_label": 3}, "ignore label"),
    ],
)
def test_what_cannot_be_compared_is_refused(good, change, words):
    with pytest.raises(ValueError, match=f"their {words} differ"):
        ReportPage([good, replace(good, name="other", summary=good.summary | change)])


def test_models_with_other_references_of_a_case_are_refused(good):
    first, second = (json.loads(json.dumps(good.summary)) for _ in range(2))
    first["cases"], second["cases"] = first["cases"][:6], second["cases"][6:]
    second["cases"][-1]["stamp"]["reference"] = "another"
    models = [replace(good, name=str(place), summary=each) for place, each in enumerate((first, second))]
    # The case is one that the second and the third have, and not the first.
    with pytest.raises(ValueError, match=r"^1 and Good cannot .* their references of the case case_11 differ"):
        ReportPage([*models, replace(good, name="Good")])
    for case in second["cases"]:
        del case["stamp"]
    ReportPage([*models, good])


def test_nothing_is_refused():
    with pytest.raises(ValueError, match="nothing to report"):
        ReportPage([])
