"""``nnUNetv2_mamba calibrate``: fit a threshold and a smallest component to what a model is to be used for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from nnunetv2_mamba.commands.options import PROGRAM, option
from nnunetv2_mamba.evaluation.errors import EvaluationError, GeometryError
from nnunetv2_mamba.evaluation.folder import CaseFiles, Settings
from nnunetv2_mamba.evaluation.froc import probabilities_of
from nnunetv2_mamba.evaluation.images import read_segmentation, require_known_labels
from nnunetv2_mamba.evaluation.operating_point import (
    SHOWN,
    THRESHOLDS,
    Aim,
    OperatingPoint,
    Table,
    counts_at,
    counts_of_others,
    detections_by_threshold,
    fit,
)
from nnunetv2_mamba.evaluation.parallel import default_processes, for_each
from nnunetv2_mamba.evaluation.presets import PRESETS, protocol_from
from nnunetv2_mamba.evaluation.protocol import Protocol
from nnunetv2_mamba.folders import sources
from nnunetv2_mamba.folders.operating_points import FILE, write_operating_points

PARTS = 5
"""Into how many parts the cases of a single fold are divided."""

THIRDS = ("smallest", "middle", "largest")


@dataclass
class Calibrate:
    """Fit a threshold and a smallest component to validated folds; writes operating_point.json beside the model.

    The folds must have been validated with --npz, for their probabilities.
    """

    model: Path = field(metadata=option("folder of a trained model (has fold_0, ...)", "MODEL_DIR"))
    aim: str = field(
        default="f1",
        metadata=option("f1: highest lesion F1; recall@N: highest recall with at most N false positives per case"),
    )
    folds: list[str] | None = field(
        default=None, metadata=option("folds; all that are validated unless given", "-f", nargs="+")
    )
    ref: Path | None = field(
        default=None, metadata=option("folder of the reference segmentations; nnU-Net's own unless given", "-ref")
    )
    protocol: str = field(
        default="default", metadata=option(f"rules: a JSON file, or one of {', '.join(PRESETS)}", metavar="NAME")
    )
    out: Path | None = field(
        default=None, metadata=option("the new file; MODEL_DIR/operating_point.json unless given", "-o")
    )
    processes: int | None = field(
        default=None, metadata=option("number of processes; default: number of cores, at most 8", "-np")
    )

    def run(self) -> int:
        """Fit, print what it changes, and write the file."""
        try:
            aim, protocol = Aim.of_text(self.aim), protocol_from(self.protocol)
            source = sources.trained_model(self.model, folds=self.folds, reference=self.ref)
            settings = Settings.of(source.dataset, source.reader, protocol=protocol)
            tables = _tables(source.cases, settings, self.processes or default_processes())
            unit = _unit(source.cases[0], settings)
            groups = _groups(source.cases)
            points, results = {}, {}
            for target in source.targets:
                own = [table[target.name] for table in tables]
                points[target.name] = fit(own, aim, protocol)
                results[target.name] = _results(own, groups, aim, points[target.name], protocol)
                print("\n".join(_lines(target.name, points[target.name], results[target.name], unit)))
            file = self.out or self.model / FILE
            about = {
                "aim": str(aim),
                "protocol": protocol.as_dict(),
                "protocol_hash": protocol.hash,
                "folds": source.about["folds"],
                "cases": len(tables),
                "unit_of_smallest": unit,
                "results": results,
            }
            write_operating_points(file, points, about)
        except (EvaluationError, GeometryError, OSError, ValueError) as error:
            raise SystemExit(f"{PROGRAM} calibrate: {error}") from error
        print(f"\n{file}")
        return 0


def _tables(cases: Sequence[CaseFiles], settings: Settings, processes: int) -> list[dict[str, Table]]:
    if missing := [case.case for case in cases if case.probabilities is None]:
        raise EvaluationError(
            f"{len(missing)} of {len(cases)} cases have no probabilities ({', '.join(missing[:5])}): validate again "
            "with nnUNetv2_train ... --val --npz."
        )
    results = for_each(partial(_table, settings=settings), cases, processes)
    return list(tqdm(results, total=len(cases), desc="reading probabilities", unit="case"))


def _table(files: CaseFiles, settings: Settings) -> dict[str, Table]:
    reference = read_segmentation(settings.reader, files.reference, settings.values)
    require_known_labels(reference, settings.known)
    assert files.probabilities is not None
    probabilities = probabilities_of(files.probabilities, settings.targets, reference.array.shape)
    ignored = None if settings.ignore_label is None else reference.array == settings.ignore_label
    return {
        target.name: detections_by_threshold(
            probabilities[target.name],
            target.mask(reference.array),
            reference.spacing,
            settings.protocol,
            ignored,
        )
        for target in settings.targets
    }


def _unit(files: CaseFiles, settings: Settings) -> str:
    """Unit of the sizes: mm^3, mm^2, or px where files do not know how large their pixels are."""
    reference = read_segmentation(settings.reader, files.reference, settings.values)
    return "px" if reference.unit == "px" else f"mm^{reference.array.ndim}"


def _groups(cases: Sequence[CaseFiles]) -> list[int]:
    """Fold of each case; parts of the cases where there is one fold only.

    Raises:
        EvaluationError: there is one case only.
    """
    folds = [case.fold if case.fold is not None else -1 for case in cases]
    if len(set(folds)) > 1:
        return folds
    if len(cases) < 2:
        raise EvaluationError("one case is too few to fit an operating point: validate more cases.")
    return [number % PARTS for number in range(len(cases))]


def _results(
    tables: Sequence[Table], groups: Sequence[int], aim: Aim, point: OperatingPoint, protocol: Protocol
) -> dict[str, Any]:
    stock = OperatingPoint()
    return {
        "nnunet": counts_at(tables, stock).as_dict(protocol),
        "fitted_to_others": counts_of_others(tables, groups, aim, protocol).as_dict(protocol),
        "fitted_to_all": counts_at(tables, point).as_dict(protocol),
        "recall_by_size": _by_size(tables, {"nnunet": stock, "fitted_to_all": point}),
    }


def _by_size(tables: Sequence[Table], points: Mapping[str, OperatingPoint]) -> dict[str, dict[str, float | None]]:
    """Recall of the thirds of the lesions by size, at several points."""
    sizes = np.concatenate([table[0].lesions for table in tables])
    if not len(sizes):
        return {}
    third = np.minimum(np.argsort(np.argsort(sizes, kind="stable")) * len(THIRDS) // len(sizes), len(THIRDS) - 1)
    recalls: dict[str, dict[str, float | None]] = {name: {} for name in THIRDS}
    for label, point in points.items():
        found = np.concatenate([_found(table, point) for table in tables])
        for number, name in enumerate(THIRDS):
            own = found[third == number]
            recalls[name][label] = float(own.mean()) if len(own) else None
    return recalls


def _found(table: Table, point: OperatingPoint) -> np.ndarray:
    return table[THRESHOLDS.index(point.threshold)].found_by >= point.smallest


def _lines(name: str, point: OperatingPoint, results: Mapping[str, Any], unit: str) -> list[str]:
    titles = {
        "nnunet": "at 0.5, as nnU-Net decides",
        "fitted_to_others": "fitted to the other folds: expect this",
        "fitted_to_all": "fitted to all, as it is kept",
    }
    lines = [
        "",
        f"{name}: probability {point.threshold:g} or more, components of {point.smallest:g} {unit} or more",
        f"  {'':40}recall  precision     F1  false positives per case",
    ]
    for key, title in titles.items():
        counts = results[key]
        numbers = [counts[column] for column in SHOWN]
        texts = ["-" if number is None else f"{number:.2f}" for number in numbers]
        lines.append(f"  {title:40}{texts[0]:>6}  {texts[1]:>9}  {texts[2]:>5}  {texts[3]:>24}")
    for size, recalls in results["recall_by_size"].items():
        before, after = (recalls[key] for key in ("nnunet", "fitted_to_all"))
        if before is not None and after is not None:
            lines.append(f"  recall of the {size} third of the lesions: {before:.2f}, now {after:.2f}")
    return lines
