"""An evaluated model as the report sees it: counts, metrics, lesions and files of its cases."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from nnunetv2_mamba.evaluation.parts import Part


@dataclass(frozen=True)
class Cases:
    """Counts and metrics of each case, for one target.

    Attributes:
        names: of the cases.
        counts: see `nnunetv2_mamba.evaluation.metric.COUNTS`, each (cases,).
        metrics: each (cases,), NaN where it is not defined.
    """

    names: tuple[str, ...]
    counts: Mapping[str, np.ndarray]
    metrics: Mapping[str, np.ndarray]

    def of(self, names: Sequence[str]) -> "Cases":
        """The named cases, in the order of the names."""
        place = {name: index for index, name in enumerate(self.names)}
        chosen = np.array([place[name] for name in names], dtype=int)
        return Cases(
            tuple(names),
            {name: values[chosen] for name, values in self.counts.items()},
            {name: values[chosen] for name, values in self.metrics.items()},
        )

    def metric(self, name: str) -> np.ndarray:
        """Values (cases,) of a metric; NaN for all cases if the evaluation does not have it."""
        return self.metrics.get(name, np.full(len(self.names), math.nan))


@dataclass(frozen=True)
class Lesions:
    """The true positive and the missed lesions of all cases, for one target.

    Attributes:
        cases: name of the case of each lesion (lesions,).
        sizes: in mm^2 or mm^3, in images without mm in pixels or voxels (lesions,).
        voxels: number of voxels (lesions,).
        true_positive: bool (lesions,).
    """

    cases: np.ndarray
    sizes: np.ndarray
    voxels: np.ndarray
    true_positive: np.ndarray


@dataclass(frozen=True)
class ReportedModel:
    """A trained model or a folder of predictions, with its evaluation.

    Attributes:
        name: shown in the report.
        summary: content of ``lesion_summary.json``.
        parts: case, fold, target and part of every row of ``lesions.csv``.
        reader: nnU-Net's reader for segmentations and images of the cases; None for a report without pictures.
        ignore_label: value of the voxels that nobody has annotated.
        images: folder of the images, ``CASE_0000.ending``; the image folder of the summary is searched next.
        cost: of the training, with the keys of ``cost.json``; None where it is unknown.
    """

    name: str
    summary: Mapping[str, Any]
    parts: Sequence[tuple[str, int | None, str, Part]] = field(repr=False)
    reader: Any = None
    ignore_label: int | None = None
    images: Path | None = None
    cost: Mapping[str, Any] | None = None

    @property
    def targets(self) -> list[str]:
        """Names of the evaluated labels and regions."""
        return list(self.summary["targets"])

    @property
    def size_unit(self) -> str:
        """Unit of the sizes of lesions."""
        images = self.summary["dimensions"] == 2
        return {"mm": "mm²" if images else "mm³"}.get(self.summary["unit"], "px" if images else "voxels")

    @property
    def folds(self) -> list[Any]:
        """Folds whose cases are pooled, numbers or ``all``; empty for a folder of predictions."""
        return list(self.summary.get("folds") or [])

    @property
    def trained_on_cases(self) -> bool:
        """Whether the model was trained on these cases, as the model of fold ``all`` is."""
        return bool(self.summary.get("trained_on_cases")) or "all" in self.folds

    @cached_property
    def case_files(self) -> dict[str, Mapping[str, Any]]:
        """The entry of each case in the summary."""
        return {entry["case"]: entry for entry in self.summary["cases"]}

    def cases(self, target: str) -> Cases:
        """Counts and metrics of each case."""
        entries = [entry["targets"][target] for entry in self.summary["cases"]]
        names = tuple(entry["case"] for entry in self.summary["cases"])
        counts, metrics = (_columns([entry[part] for entry in entries]) for part in ("counts", "metrics"))
        return Cases(names, counts, metrics)

    def lesions(self, target: str) -> Lesions:
        """The true positive and the missed lesions; ignored ones are left out."""
        mine = [
            (case, part)
            for case, _, name, part in self.parts
            if name == target and part.kind == "lesion" and part.status != "ignored"
        ]
        return Lesions(
            cases=np.array([case for case, _ in mine], dtype=object),
            sizes=np.array([part.size for _, part in mine]),
            voxels=np.array([part.voxels for _, part in mine]),
            true_positive=np.array([part.status == "true_positive" for _, part in mine], dtype=bool),
        )

    def image_file(self, case: str) -> Path | None:
        """File of the first channel of a case; None where there is no such file."""
        for folder in filter(None, (self.images, self.summary.get("image_folder"))):
            # Not by a glob pattern: brackets in the name of a case would have a meaning.
            files = sorted(Path(folder).iterdir()) if Path(folder).is_dir() else []
            if found := next((file for file in files if file.name.startswith(f"{case}_0000.")), None):
                return found
        return None


def _columns(entries: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    names = dict.fromkeys(name for entry in entries for name in entry)
    return {name: np.array([nan_for_null(entry.get(name)) for entry in entries]) for name in names}


def nan_for_null(value: float | None) -> float:
    """A number of the summary, where null stands for not defined."""
    return math.nan if value is None else float(value)


def common_cases(models: Sequence[ReportedModel]) -> list[str]:
    """Names of the cases that every model has, in the order of the first."""
    others = [model.case_files.keys() for model in models[1:]]
    return [case for case in models[0].case_files if all(case in other for other in others)]
