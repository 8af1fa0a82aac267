"""From measured cases to the content of ``lesion_inspection.json``."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnunetv2_mamba.evaluation.images import size_unit
from nnunetv2_mamba.evaluation.lesions import Extent
from nnunetv2_mamba.evaluation.targets import Target
from nnunetv2_mamba.inspection.case import InspectedCase, Job

QUANTILES = {"min": 0.0, "q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95, "max": 1.0}


@dataclass(frozen=True)
class PlannedNetwork:
    """How a network downsamples an image.

    Attributes:
        trainer: trainer of the network.
        name: of its class.
        token: voxels that its first layer joins, one number per axis; all 1 if it keeps the full resolution.
        total_stride: voxels in one of its coarsest cells, one number per axis.
    """

    trainer: str
    name: str
    token: tuple[int, ...]
    total_stride: tuple[int, ...]


@dataclass(frozen=True)
class PlannedConfiguration:
    """The part of nnU-Net's plans that determines what a network sees.

    Attributes:
        name: of the plans.
        configuration: of the plans.
        spacing: of the voxels after resampling, one number per axis.
        patch_size: in these voxels.
    """

    name: str
    configuration: str
    spacing: tuple[float, ...]
    patch_size: tuple[int, ...]


@dataclass(frozen=True)
class Setting:
    """What the lesions are compared with.

    Attributes:
        min_voxels: lesions with fewer voxels are counted as tiny.
        plan: the configuration that resamples them; None if there are no plans yet.
        network: the network that is trained to find them; None where it is unknown.
        only_preprocessed: whether the lesions were measured in preprocessed segmentations, because there are no others.
    """

    min_voxels: int
    plan: PlannedConfiguration | None = None
    network: PlannedNetwork | None = None
    only_preprocessed: bool = False


def summarize(cases: Sequence[InspectedCase], job: Job, setting: Setting) -> dict[str, Any]:
    """Numbers of the dataset and of each target, ready for JSON; ``docs/inspect.md`` defines each of them.

    Args:
        cases: at least one.
        job: what the cases have in common.
        setting: what their lesions are compared with.
    """
    dimensions, unit = cases[0].dimensions, cases[0].unit
    foreground = [label for target in job.targets for label in target.labels]
    fractions = [_share([case], foreground, job.ignore_label) for case in cases]
    lesion_free = sum(all(len(lesions.border) == 0 for lesions in case.targets.values()) for case in cases)
    plan, network = setting.plan, setting.network
    return {
        "dimensions": dimensions,
        "unit": unit,
        "size_unit": size_unit(unit, dimensions),
        "connectivity": job.connectivity,
        "min_voxels": setting.min_voxels,
        "plan": None if plan is None else dataclasses.asdict(plan) | {"slicewise": job.slicewise},
        "network": None if network is None else dataclasses.asdict(network),
        "only_preprocessed": setting.only_preprocessed,
        "cases": len(cases),
        "lesion_free_cases": lesion_free,
        "foreground_fraction": quantiles(fractions),
        "ignored_fraction": None if job.ignore_label is None else _share(cases, [job.ignore_label], None),
        "targets": {target.name: _of_target(cases, target, job=job, setting=setting) for target in job.targets},
        "per_case": [_of_case(case, job.slicewise) for case in cases],
    }


def quantiles(values: Sequence[float] | np.ndarray) -> dict[str, float] | None:
    """Quantiles by name; None without values."""
    if not len(values):
        return None
    return dict(zip(QUANTILES, np.quantile(values, list(QUANTILES.values())).tolist(), strict=True))


def smaller_half_share(sizes: np.ndarray) -> float | None:
    """Share of the volume that the smaller half of the lesions has; the middle of an odd number is not in it.

    Args:
        sizes: of the lesions (n,).
    """
    return float(np.sort(sizes)[: len(sizes) // 2].sum() / sizes.sum()) if len(sizes) else None


def diameter(sizes: np.ndarray, dimensions: int) -> np.ndarray:
    """Diameter of the disc or ball of the same area or volume (n,), in the unit of the spacing."""
    return 2 * np.sqrt(sizes / math.pi) if dimensions == 2 else np.cbrt(6 * sizes / math.pi)


def _of_target(cases: Sequence[InspectedCase], target: Target, *, job: Job, setting: Setting) -> dict[str, Any]:
    lesions = [case.targets[target.name] for case in cases]
    numbers = np.array([len(of_case.border) for of_case in lesions])
    annotated = Extent.joined([of_case.annotated for of_case in lesions])
    sizes = np.concatenate([case.sizes(target.name) for case in cases])
    touching = [of_case.touching for of_case in lesions if of_case.touching is not None]
    known = not setting.only_preprocessed
    return {
        "labels": list(target.labels),
        "cases_with": int((numbers > 0).sum()),
        "cases_without": int((numbers == 0).sum()),
        "lesions": int(numbers.sum()),
        "lesions_per_case_with": quantiles(numbers[numbers > 0]),
        "voxels": quantiles(annotated.voxels),
        "size": quantiles(sizes),
        "diameter": quantiles(diameter(sizes, cases[0].dimensions)),
        "smaller_half_share": smaller_half_share(sizes),
        "foreground_fraction": _share(cases, target.labels, job.ignore_label),
        "touch_another_class": int(np.concatenate(touching).sum()) if touching else None,
        "touch_border": int(np.concatenate([of_case.border for of_case in lesions]).sum()) if known else None,
        "in_one_slice": int((annotated.slices == 1).sum()) if cases[0].dimensions == 3 else None,
        "annotated_below_min_voxels": _below(annotated.seen(job.slicewise), setting.min_voxels) if known else None,
        "resampled": None if setting.plan is None else _resampled(cases, target, job=job, setting=setting),
    }


def _resampled(cases: Sequence[InspectedCase], target: Target, *, job: Job, setting: Setting) -> dict[str, Any]:
    """How a network sees the lesions."""
    lesions = [case.targets[target.name] for case in cases]
    followed = [of_case.resampled.seen(job.slicewise) for of_case in lesions if of_case.resampled is not None]
    seen = followed or [
        of_case.annotated.seen(job.slicewise) * (case.to_plan or 1)
        for of_case, case in zip(lesions, cases, strict=True)
    ]
    joined = np.concatenate(seen)
    token = None if setting.network is None else math.prod(setting.network.token)
    return {
        "how": "measured" if followed or setting.only_preprocessed else "estimated",
        "cases": len(seen),
        "lesions": len(joined),
        "voxels": quantiles(joined),
        "below_min_voxels": _below(joined, setting.min_voxels),
        "vanished": _below(joined, 1) if followed else None,
        "below_token": None if token is None else _below(joined, token),
    }


def _below(voxels: np.ndarray, bound: int) -> int:
    return int((voxels < bound).sum())


def _of_case(case: InspectedCase, slicewise: bool) -> dict[str, Any]:
    return {
        "case": case.case,
        "shape": list(case.shape),
        "spacing": list(case.spacing),
        "voxels_of_plan_per_voxel": case.to_plan,
        "voxels_per_label": {f"{value:g}": number for value, number in sorted(case.voxels.items())},
        "targets": {
            name: {
                "voxels": lesions.annotated.voxels.tolist(),
                "largest_slice": lesions.annotated.largest_slice.tolist(),
                "slices": lesions.annotated.slices.tolist(),
                "touch_border": lesions.border.astype(int).tolist(),
                "touch_another_class": None if lesions.touching is None else lesions.touching.astype(int).tolist(),
                "resampled": None if lesions.resampled is None else lesions.resampled.seen(slicewise).tolist(),
            }
            for name, lesions in case.targets.items()
        },
    }


def _share(cases: Sequence[InspectedCase], labels: Sequence[int], ignore_label: int | None) -> float:
    """Share of the annotated voxels of cases that have one of some labels; 0 if no voxel is annotated."""
    wanted = sum(case.voxels.get(label, 0) for case in cases for label in set(labels))
    annotated = sum(number for case in cases for value, number in case.voxels.items() if value != ignore_label)
    return wanted / max(annotated, 1)
