"""What we read and count is what nnU-Net reads and counts."""

from pathlib import Path

import numpy as np
import pytest
from nnunetv2.evaluation.evaluate_predictions import compute_metrics
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from nnunetv2_mamba.evaluation.folder import CaseFiles, Settings, evaluate_case
from nnunetv2_mamba.evaluation.froc import probabilities_of
from nnunetv2_mamba.evaluation.targets import ignore_label_of, targets_of
from tests.evaluation.random_cases import random_labels, random_spacing

CLASSES = {"background": 0, "oedema": 1, "core": 2}
REGIONS = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3}
DATASETS = {
    "one class": {"background": 0, "lesion": 1},
    "classes": CLASSES,
    "classes and ignore": CLASSES | {"ignore": 3},
    "regions": REGIONS,
    "regions and ignore": REGIONS | {"ignore": 4},
    "lists of one label": {"background": 0, "oedema": [1], "core": [2]},
    "another order": {"background": 0, "core": 2, "oedema": 1},
}


def manager_of(labels: dict) -> LabelManager:
    return LabelManager(labels, regions_class_order=[1, 2, 3])


def label_or_region(value: int | list[int]) -> int | tuple[int, ...]:
    return tuple(value) if isinstance(value, list) else value


@pytest.mark.parametrize("labels", DATASETS.values(), ids=list(DATASETS))
def test_targets_are_those_of_the_label_manager(labels):
    manager = manager_of(labels)
    targets = targets_of({"labels": labels})
    values = manager.foreground_regions if manager.has_regions else manager.foreground_labels
    theirs = [value if isinstance(value, tuple) else (value,) for value in values]
    ours = [target.labels for target in targets]
    assert ours == theirs if manager.has_regions else set(ours) == set(theirs)
    assert [target.name for target in targets] == [name for name in labels if name not in ("background", "ignore")]
    assert ignore_label_of({"labels": labels}) == manager.ignore_label


class ReaderOfArrays:
    """Reads what it was given, as nnU-Net's readers give it."""

    def __init__(self, spacing: tuple[float, ...], **arrays: np.ndarray) -> None:
        flat = arrays["reference"].ndim == 2
        self.spacing = (999.0 * max(spacing), *spacing) if flat else spacing
        self.arrays = {name: array[None, None] if flat else array[None] for name, array in arrays.items()}

    def read_seg(self, path: str) -> tuple[np.ndarray, dict]:
        return self.arrays[path].astype(np.float32), {"spacing": self.spacing}


@pytest.mark.parametrize("shape", [(13, 17), (7, 9, 8)], ids=str)
@pytest.mark.parametrize("labels", DATASETS.values(), ids=list(DATASETS))
def test_voxels_and_dice_are_those_of_nnunet(labels, shape):
    rng = np.random.default_rng(0)
    ignore = labels.get("ignore")
    highest = max(np.max(value) for value in labels.values())
    targets = targets_of({"labels": labels})
    for _ in range(15):
        reference, prediction = random_labels(rng, shape, highest)
        prediction[prediction == (ignore or -1)] = 0
        spacing = random_spacing(rng, len(shape))
        reader = ReaderOfArrays(spacing, reference=reference, prediction=prediction)
        values = {target.name: label_or_region(labels[target.name]) for target in targets}
        theirs = compute_metrics("reference", "prediction", reader, list(values.values()), ignore)["metrics"]
        ours = evaluate_case(
            CaseFiles("case", Path("reference"), Path("prediction")), Settings(reader, targets, ignore_label=ignore)
        )["targets"]
        for target in targets:
            counts, metrics = ours[target.name]["counts"], ours[target.name]["metrics"]
            expected = theirs[values[target.name]]
            assert {name: counts[name] for name in ("TP", "FP", "FN", "TN")} == {
                name: expected[name] for name in ("TP", "FP", "FN", "TN")
            }
            assert metrics["DSC"] == pytest.approx(expected["Dice"], nan_ok=True)
            assert metrics["mIoU"] == pytest.approx(expected["IoU"], nan_ok=True)
            assert metrics["reference_volume"] == pytest.approx(expected["n_ref"] * np.prod(spacing))
            assert metrics["predicted_volume"] == pytest.approx(expected["n_pred"] * np.prod(spacing))


@pytest.mark.parametrize("labels", DATASETS.values(), ids=list(DATASETS))
def test_the_channel_of_a_target_is_the_one_that_nnunet_gives_it(labels, tmp_path):
    manager, targets = manager_of(labels), targets_of({"labels": labels})
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(manager.num_segmentation_heads, 1, 6, 7)).astype(np.float32) * 3
    probabilities = np.asarray(manager.apply_inference_nonlin(logits))
    segmentation = np.asarray(manager.convert_probabilities_to_segmentation(probabilities))[0]
    np.savez_compressed(tmp_path / "case.npz", probabilities=probabilities)
    ours = probabilities_of(tmp_path / "case.npz", targets, (6, 7))
    for target in targets:
        if manager.has_regions:
            channel = manager.foreground_regions.index(label_or_region(labels[target.name]))
            assert (ours[target.name] == probabilities[channel, 0]).all()
        else:
            # Where a class has more than half, it is the one that is predicted.
            sure = ours[target.name] > 0.5
            assert sure.any()
            assert target.mask(segmentation)[sure].all()
