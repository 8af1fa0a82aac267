"""Published rules, each written down once more as plainly as their authors state them, against our presets."""

import warnings
from collections import Counter

import numpy as np
import pytest
import surface_distance
from scipy import ndimage, sparse

from nnunetv2_mamba.evaluation.case import Comparison, compare
from nnunetv2_mamba.evaluation.presets import PRESETS
from nnunetv2_mamba.evaluation.strata import image_strata
from tests.evaluation.drawings import compared
from tests.evaluation.random_cases import random_pair

ALL_NEIGHBOURS, FACES_AND_EDGES = (ndimage.generate_binary_structure(3, rank) for rank in (3, 2))


def random_cases(number: int, spacing: tuple[float, ...] = (1.0, 1.0, 1.0)) -> list[tuple]:
    """Pairs in 3-D, among them all empty cells, lesions of one voxel and lesions of more than fifty."""
    rng = np.random.default_rng(0)
    shape, radii = (13, 12, 15), (0.4, 1.8, 2.6, 3.5)
    cases = [random_pair(rng, shape, blobs=(2, 6)[case % 2], radii=radii) for case in range(number)]
    nothing, something = np.zeros(shape, bool), np.zeros(shape, bool)
    something[4, 4, 4] = something[:, 8:] = True
    cases += [(nothing, nothing), (nothing, something), (something, nothing)]
    return [(reference, prediction, spacing) for reference, prediction in cases]


def parts_of(mask: np.ndarray, structure: np.ndarray = ALL_NEIGHBOURS) -> list[np.ndarray]:
    labels, number = ndimage.label(mask, structure)
    return [labels == part for part in range(1, number + 1)]


def hd95(first: np.ndarray, second: np.ndarray) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        distances = surface_distance.compute_surface_distances(first, second, (1, 1, 1))
    return surface_distance.compute_robust_hausdorff(distances, 95)


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return 2 * (first & second).sum() / (first.sum() + second.sum())


def brats(reference: np.ndarray, prediction: np.ndarray, steps: int, too_small: int) -> dict[str, float]:
    """Lesion-wise scores of the BraTS challenges of 2023, in voxels of 1 mm.

    Every reference component is dilated; what then hangs together is one lesion. All predicted components that the
    dilation of a lesion meets are its prediction. Lesions up to a size are left out, with what they meet; every other
    component that meets no lesion is a false positive, with a Dice of 0 and a distance of 374 mm, like a missed lesion.
    """
    components = parts_of(prediction)
    dilated = ndimage.binary_dilation(reference, FACES_AND_EDGES, iterations=steps)
    true_positive = missed = 0
    dices, distances, met = [], [], set()
    for reach in parts_of(dilated):
        lesion = reach & reference
        partners = [number for number, component in enumerate(components) if (component & reach).any()]
        met |= set(partners)
        if lesion.sum() <= too_small:
            continue
        true_positive, missed = true_positive + bool(partners), missed + (not partners)
        together = np.any([components[number] for number in partners], axis=0) if partners else None
        dices.append(dice(lesion, together) if partners else 0.0)
        distances.append(hd95(lesion, together) if partners else 374.0)
    false_positive = len(components) - len(met)
    dices, distances = dices + [0.0] * false_positive, distances + [374.0] * false_positive
    return {
        "true_positive": true_positive,
        "missed": missed,
        "false_positive": false_positive,
        "lesionwise_dice": np.mean(dices) if dices else 1.0,
        "lesionwise_hd95": np.mean(distances) if distances else 0.0,
    }


def counted(comparison: Comparison) -> dict[str, float]:
    counts = comparison.counts
    return {
        "true_positive": counts["true_positive_lesions"],
        "missed": counts["lesions"] - counts["true_positive_lesions"],
        "false_positive": counts["components"] - counts["true_positive_components"],
    }


@pytest.mark.parametrize(
    ("name", "steps", "too_small"),
    [("brats-gli", 3, 50), ("brats-ssa", 3, 50), ("brats-ped", 3, 50), ("brats-men", 1, 50), ("brats-met", 1, 2)],
)
def test_brats(name, steps, too_small):
    seen = Counter()
    for case in random_cases(60):
        comparison = compare(*case, PRESETS[name])
        expected = brats(*case[:2], steps, too_small)
        scores = {score: comparison.metrics[score] for score in ("lesionwise_dice", "lesionwise_hd95")}
        assert counted(comparison) | scores == pytest.approx(expected)
        seen.update({key: bool(value) for key, value in expected.items()})
        seen["ignored"] += any(part.status == "ignored" for part in comparison.parts)
    assert all(seen[kind] >= 4 for kind in ("true_positive", "missed", "false_positive", "ignored")), seen


@pytest.mark.parametrize(("name", "too_small"), [("brats-gli", 50), ("brats-men", 50), ("brats-met", 2)])
def test_brats_leaves_out_lesions_up_to_a_size(name, too_small):
    for voxels, lesions in ((too_small, 0), (too_small + 1, 1)):
        reference = np.zeros((4, 4, 4), bool)
        reference.ravel()[:voxels] = True
        comparison = compare(reference, np.zeros_like(reference), (1, 1, 1), PRESETS[name])
        assert counted(comparison) == {"true_positive": 0, "missed": lesions, "false_positive": 0}


def test_brats_of_whole_images():
    # As the organisers' code has them, which does not leave small lesions out here.
    for reference, prediction, spacing in random_cases(25):
        metrics = compare(reference, prediction, spacing, PRESETS["brats-gli"]).metrics
        both, either = (reference & prediction).sum(), (reference | prediction).sum()
        expected = {
            "DSC": dice(reference, prediction) if either else 1.0,
            "SEN": both / max(reference.sum(), 1) if either else 1.0,
            "SPE": (~reference & ~prediction).sum() / (~reference).sum(),
        }
        if reference.any() and prediction.any():
            expected["HD95"] = hd95(reference, prediction)
        else:
            expected["HD95"] = 374.0 if either else 0.0
        assert {name: metrics[name] for name in expected} == pytest.approx(expected)


def isles(reference: np.ndarray, prediction: np.ndarray) -> dict[str, float]:
    """Scores of ISLES'22: F1 of lesions that overlap at all, Dice and absolute differences; 1 where both are empty."""
    lesions, components = parts_of(reference), parts_of(prediction)
    true_positive = sum((lesion & prediction).any() for lesion in lesions)
    false_positive = sum(not (component & reference).any() for component in components)
    wrong = len(lesions) - true_positive + false_positive
    return {
        "lesion_f1": true_positive / (true_positive + wrong / 2) if true_positive + wrong else 1.0,
        "DSC": dice(reference, prediction) if lesions or components else 1.0,
        "lesion_count_error": abs(len(lesions) - len(components)),
        "volume_error": abs(int(reference.sum()) - int(prediction.sum())) * 3.0,
    }


def test_isles22():
    for case in random_cases(60, spacing=(1.5, 2.0, 1.0)):
        metrics, expected = compare(*case, PRESETS["isles22"]).metrics, isles(*case[:2])
        assert {name: metrics[name] for name in expected} == pytest.approx(expected)


def test_autopet():
    # Size of false positive components and of missed lesions; voxels that share no face and no edge are apart.
    volumes = Counter()
    for reference, prediction, spacing in random_cases(60, spacing=(1.5, 2.0, 1.0)):
        metrics = compare(reference, prediction, spacing, PRESETS["autopet"]).metrics
        for name, mask, other in (
            ("fp_volume_per_case", prediction, reference),
            ("missed_volume_per_case", reference, prediction),
        ):
            alone = [part.sum() for part in parts_of(mask, FACES_AND_EDGES) if not (part & other).any()]
            assert metrics[name] == pytest.approx(3.0 * sum(alone))
            volumes[name] += sum(alone) > 0
    assert all(number > 5 for number in volumes.values()), volumes


def test_picai():
    # As many pairs as possible of an IoU of at least 0.1. What could have been in a pair is no false positive.
    spared = 0
    for reference, prediction, spacing in random_cases(80):
        # Cut, so that some lesions have two components that would do.
        prediction[:, 5] = False
        lesions, components = parts_of(reference), parts_of(prediction)
        possible = np.array(
            [
                [(lesion & component).sum() >= 0.1 * (lesion | component).sum() for component in components]
                for lesion in lesions
            ]
        ).reshape(len(lesions), len(components))
        partner = sparse.csgraph.maximum_bipartite_matching(sparse.csr_array(possible), perm_type="column")
        expected = {
            "true_positive": int((partner >= 0).sum()),
            "missed": int((partner < 0).sum()),
            "false_positive": int((~possible.any(axis=0)).sum()),
        }
        comparison = compare(reference, prediction, spacing, PRESETS["picai"])
        assert counted(comparison) == expected
        assert comparison.counts["true_positive_components"] == expected["true_positive"]
        spared += any(part.status == "ignored" for part in comparison.components)
    assert spared


def test_s3mamba_groups_images_into_30_30_and_40_percent():
    counts = [compared("r" * size + "." * (20 - size)).counts for size in range(1, 11)]
    entries = image_strata(counts, PRESETS["s3mamba"], [1.0] * 10)
    assert [(entry["name"], entry["counts"]["cases"]) for entry in entries] == [
        ("small", 3),
        ("medium", 3),
        ("large", 4),
    ]
