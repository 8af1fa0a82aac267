"""Free-response ROC from the probabilities that nnU-Net saves with --npz."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nnunetv2_mamba.evaluation.case import compare
from nnunetv2_mamba.evaluation.errors import GeometryError
from nnunetv2_mamba.evaluation.folder import Settings, evaluate_files
from nnunetv2_mamba.evaluation.froc import THRESHOLDS, comparisons_by_threshold, probabilities_of
from nnunetv2_mamba.evaluation.protocol import Protocol
from nnunetv2_mamba.evaluation.targets import Target
from tests.evaluation.drawings import DrawingReader, cases_of, masks
from tests.evaluation.random_cases import random_pair

CLASSES = [Target("one", (1,)), Target("two", (2,))]
REGIONS = [Target("whole", (1, 2)), Target("core", (2,))]


def save(path: Path, probabilities: list | np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, probabilities=np.asarray(probabilities, np.float32))
    return path


def test_classes_have_the_channel_of_their_label(tmp_path):
    path = save(tmp_path / "a.npz", [[[0.7, 0.1]], [[0.2, 0.3]], [[0.1, 0.6]]])
    found = probabilities_of(path, CLASSES, (1, 2))
    assert {name: channel.tolist() for name, channel in found.items()} == {
        "one": [pytest.approx([0.2, 0.3])],
        "two": [pytest.approx([0.1, 0.6])],
    }


def test_regions_have_the_channel_of_their_place(tmp_path):
    path = save(tmp_path / "a.npz", [[[0.9, 0.8]], [[0.2, 0.7]]])
    found = probabilities_of(path, REGIONS, (1, 2))
    assert {name: channel.tolist() for name, channel in found.items()} == {
        "whole": [pytest.approx([0.9, 0.8])],
        "core": [pytest.approx([0.2, 0.7])],
    }


def test_images_have_an_axis_more(tmp_path):
    path = save(tmp_path / "a.npz", np.arange(24).reshape(2, 1, 3, 4))
    assert probabilities_of(path, [Target("one", (1,))], (3, 4))["one"].tolist() == [
        [12, 13, 14, 15],
        [16, 17, 18, 19],
        [20, 21, 22, 23],
    ]
    # A volume of one slice has it anyway.
    assert probabilities_of(path, [Target("one", (1,))], (1, 3, 4))["one"].shape == (1, 3, 4)


def test_probabilities_of_another_grid_are_refused(tmp_path):
    path = save(tmp_path / "a.npz", np.zeros((2, 1, 3, 4)))
    with pytest.raises(GeometryError, match=r"a\.npz has probabilities of \(3, 4\) voxels, but its reference \(4, 3\)"):
        probabilities_of(path, [Target("one", (1,))], (4, 3))


@pytest.mark.parametrize("targets", [CLASSES, REGIONS], ids=["classes", "regions"])
def test_probabilities_of_another_dataset_are_refused(tmp_path, targets):
    path = save(tmp_path / "a.npz", np.zeros((len(targets) - 1, 1, 3, 4)))
    with pytest.raises(OSError, match=r"a\.npz has 1 channels, too few for the targets of dataset\.json"):
        probabilities_of(path, targets, (3, 4))


@pytest.mark.parametrize("damage", ["truncated", "another content"])
def test_a_damaged_file_is_named(tmp_path, damage):
    path = save(tmp_path / "a.npz", np.zeros((2, 1, 3, 4)))
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-30])
    else:
        np.savez(path, logits=np.zeros(3))
    with pytest.raises(OSError, match=r"a\.npz does not contain probabilities as nnU-Net writes them"):
        probabilities_of(path, CLASSES, (3, 4))


# Lesions at 0.6 and 0.3, a false positive at 0.4, which touches nothing.
DRAWN = "1.1..."
SEEN = [0.6, 0.0, 0.3, 0.0, 0.4, 0.0]
# With every threshold up to these, both lesions match, the false positive is there, and the first lesion matches.
UP_TO = {"both": 0.3, "false_positive": 0.4, "first": 0.6}


def froc_of(folder: Path, targets: list[Target], protocol: Protocol | None = None) -> dict:
    cases = cases_of(folder, {"a": (DRAWN, DRAWN), "b": ("......", "......")})
    channels = np.array([SEEN, [0.0] * 6], np.float32)[:, None, None]
    probabilities = [
        np.stack([1 - channel, channel]) if targets[0].labels == (1,) else channel[None] for channel in channels
    ]
    cases = [
        replace(case, probabilities=save(folder / f"{case.case}.npz", channel))
        for case, channel in zip(cases, probabilities, strict=True)
    ]
    settings = Settings(DrawingReader(), targets, protocol or Protocol())
    return evaluate_files(cases, settings).summary["targets"][targets[0].name]["froc"]


@pytest.mark.parametrize("target", [Target("one", (1,)), Target("whole", (1, 2))], ids=["labels", "regions"])
def test_recall_and_false_positives_at_every_threshold(tmp_path, target):
    froc = froc_of(tmp_path, [target])
    assert froc == {
        "cases": 2,
        "thresholds": list(THRESHOLDS),
        "lesion_recall": [((t <= UP_TO["both"]) + (t <= UP_TO["first"])) / 2 for t in THRESHOLDS],
        "fp_per_case": [float(t <= UP_TO["false_positive"]) / 2 for t in THRESHOLDS],
        "true_positive_lesions": [(t <= UP_TO["both"]) + (t <= UP_TO["first"]) for t in THRESHOLDS],
        "true_positive_components": [(t <= UP_TO["both"]) + (t <= UP_TO["first"]) for t in THRESHOLDS],
    }


def test_froc_follows_the_protocol(tmp_path):
    # All components are too small to count.
    froc = froc_of(tmp_path, [Target("one", (1,))], Protocol(min_component_voxels=2))
    assert set(froc["lesion_recall"]) == set(froc["fp_per_case"]) == {0.0}


def test_without_probabilities_there_is_no_froc(tmp_path):
    cases = cases_of(tmp_path, {"a": ("1.", "1.")})
    summary = evaluate_files(cases, Settings(DrawingReader(), CLASSES)).summary
    assert summary["targets"]["one"]["froc"] is None


def test_only_cases_with_probabilities_are_in_it(tmp_path):
    cases = cases_of(tmp_path, {"a": ("1.", "1."), "b": ("1.", "1.")})
    path = save(tmp_path / "a.npz", [[[[0.2, 1.0]]], [[[0.8, 0.0]]]])
    with_one = [replace(cases[0], probabilities=path), cases[1]]
    settings = Settings(DrawingReader(), [Target("one", (1,))])
    assert evaluate_files(with_one, settings).summary["targets"]["one"]["froc"]["cases"] == 1
    assert evaluate_files(with_one, replace(settings, froc=False)).summary["targets"]["one"]["froc"] is None


@pytest.mark.parametrize("shape", [(14, 15), (6, 8, 9)], ids=str)
def test_recall_never_rises_with_the_threshold(shape):
    rng = np.random.default_rng(0)
    spacing = (1.5,) * len(shape)
    for _ in range(10):
        reference, _ = random_pair(rng, shape)
        probability = np.clip(0.5 * reference + rng.normal(0.3, 0.3, shape), 0, 1)
        counts = [found.counts for found in comparisons_by_threshold(probability, reference, spacing, Protocol())]
        assert len(counts) == len(THRESHOLDS)
        found = [count["true_positive_lesions"] for count in counts]
        assert found == sorted(found, reverse=True)
        for threshold, count in zip(THRESHOLDS, counts, strict=True):
            alone = compare(reference, probability >= threshold, spacing).counts
            names = (
                "TP",
                "FP",
                "true_positive_lesions",
                "lesions",
                "true_positive_components",
                "components",
                "false_positive_volume",
            )
            assert {name: count[name] for name in names} == {name: alone[name] for name in names}


def test_what_is_ignored_is_ignored_at_every_threshold():
    reference, prediction = masks("#r.p")
    ignored = masks("..rr")[0]
    for found in comparisons_by_threshold(prediction.astype(float), reference, (1.0, 1.0), Protocol(), ignored):
        count = found.counts
        assert (count["lesions"], count["components"], count["FP"]) == (1, 1, 0)


def test_probabilities_that_are_of_no_use_cost_only_the_froc(tmp_path):
    cases = cases_of(tmp_path, {"a": ("1.", "1.")})
    foreign = tmp_path / "a.npz"
    np.savez(foreign, data=np.zeros(3))
    settings = Settings(DrawingReader(), [Target("one", (1,))])
    summary = evaluate_files([replace(cases[0], probabilities=foreign)], settings).summary
    assert summary["targets"]["one"]["froc"] is None
    assert summary["targets"]["one"]["pooled"]["DSC"] == 1.0
    assert [str(foreign) in warning and "free-response ROC" in warning for warning in summary["warnings"]] == [True]
