"""``nnUNetv2_mamba calibrate``: fit a threshold and a smallest component to what a model is to be used for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from nnunetv2_mamba.commands.options import PROGRAM, option
from nnunetv2_mamba.evaluation.case import MaskPair, compare_pair
from nnunetv2_mamba.evaluation.errors import EvaluationError, GeometryError
from nnunetv2_mamba.evaluation.folder import CaseFiles, Settings
from nnunetv2_mamba.evaluation.froc import comparisons_by_threshold, probabilities_of
from nnunetv2_mamba.evaluation.images import Segmentation, read_segmentation, require_known_labels
from nnunetv2_mamba.evaluation.operating_point import (
    SHOWN,
    THRESHOLDS,
    Aim,
    Counts,
    Detections,
    OperatingPoints,
    Table,
    decide,
    fit,
)
from nnunetv2_mamba.evaluation.parallel import default_processes, for_each
from nnunetv2_mamba.evaluation.presets import PRESETS, protocol_from
from nnunetv2_mamba.folders import sources
from nnunetv2_mamba.folders.operating_points import FILE, regions_class_order, write_operating_points

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
            file = _target_file(self.out or self.model)
            if self.processes is not None and self.processes < 1:
                raise EvaluationError(f"-np {self.processes} is not a number of processes: give 1 or more.")
            source = sources.trained_model(self.model, folds=self.folds, reference=self.ref)
            settings = Settings.of(source.dataset, source.reader, protocol=protocol)
            cases = Cases.read(source.cases, settings, self.processes or default_processes())
            order = regions_class_order(source.dataset, source.targets)
            fitted = {name: fit(tables, aim, protocol) for name, tables in cases.tables.items()}
            operating = OperatingPoints(fitted, protocol.connectivity, order)
            results = _results(cases, operating, aim, settings)
            print("\n".join(_lines(operating, results, cases, source.about["trained_on_cases"])))
            about = {
                "aim": str(aim),
                "protocol": protocol.as_dict(),
                "protocol_hash": protocol.hash,
                "folds": source.about["folds"],
                "cases": len(cases.files),
                "unit_of_size": cases.unit,
                "results": results,
            }
            write_operating_points(file, fitted, about)
        except (EvaluationError, GeometryError, OSError, ValueError) as error:
            raise SystemExit(f"{PROGRAM} calibrate: {error}") from error
        print(f"\n{file}")
        return 0


@dataclass(frozen=True)
class Cases:
    """Validated cases.

    Attributes:
        files: of each case.
        groups: what its network was not trained on: its fold, or a part of the cases where there is one fold only.
        tables: detections of each case at each threshold, by target.
        predicted: detections of nnU-Net's own predictions, by target.
        unit: of the sizes.
        several_folds: whether the groups are folds.
    """

    files: Sequence[CaseFiles]
    groups: list[int]
    tables: dict[str, list[Table]]
    predicted: dict[str, list[Detections]]
    unit: str
    several_folds: bool

    @classmethod
    def read(cls, files: Sequence[CaseFiles], settings: Settings, processes: int) -> "Cases":
        """Read references, predictions and probabilities.

        Raises:
            EvaluationError: there are fewer than two cases, or one lacks its prediction or its probabilities.
        """
        if len(files) < 2:
            raise EvaluationError(f"{len(files)} validated cases are too few to fit an operating point: validate more.")
        if missing := [case.case for case in files if case.probabilities is None or case.prediction is None]:
            raise EvaluationError(
                f"{len(missing)} of {len(files)} cases have no probabilities ({', '.join(missing[:5])}): validate "
                "again with nnUNetv2_train ... --val --npz."
            )
        results = for_each(partial(_detections, settings=settings), files, processes)
        found = list(tqdm(results, total=len(files), desc="reading probabilities", unit="case"))
        folds = [-1 if case.fold is None else case.fold for case in files]
        several = len(set(folds)) > 1
        return cls(
            files=files,
            groups=folds if several else [number % PARTS for number in range(len(files))],
            tables={target.name: [tables[target.name] for tables, _, _ in found] for target in settings.targets},
            predicted={target.name: [own[target.name] for _, own, _ in found] for target in settings.targets},
            unit=found[0][2],
            several_folds=several,
        )


def _target_file(path: Path) -> Path:
    file = path / FILE if path.is_dir() else path
    if not file.parent.is_dir():
        raise EvaluationError(f"the folder {file.parent} does not exist: make it, or name another file with -o.")
    return file


def _detections(files: CaseFiles, settings: Settings) -> tuple[dict[str, Table], dict[str, Detections], str]:
    """Detections at each threshold and of nnU-Net's own prediction, by target; unit of the sizes."""
    reference, ignored, probabilities = _read(files, settings)
    assert files.prediction is not None
    predicted = read_segmentation(settings.reader, files.prediction, settings.values).array
    tables: dict[str, Table] = {}
    own: dict[str, Detections] = {}
    for target in settings.targets:
        truth = target.mask(reference.array)
        channel = probabilities[target.name]
        compared = comparisons_by_threshold(
            channel, truth, reference.spacing, settings.protocol, ignored, thresholds=THRESHOLDS
        )
        tables[target.name] = list(map(Detections.of_comparison, compared))
        own[target.name] = _compared(truth, target.mask(predicted), reference, settings, ignored)
    return tables, own, "px" if reference.unit == "px" else f"mm^{reference.array.ndim}"


def _read(files: CaseFiles, settings: Settings) -> tuple[Segmentation, np.ndarray | None, dict[str, np.ndarray]]:
    reference = read_segmentation(settings.reader, files.reference, settings.values)
    require_known_labels(reference, settings.known)
    assert files.probabilities is not None
    ignored = None if settings.ignore_label is None else reference.array == settings.ignore_label
    return reference, ignored, probabilities_of(files.probabilities, settings.targets, reference.array.shape)


def _compared(
    truth: np.ndarray, mask: np.ndarray, reference: Segmentation, settings: Settings, ignored: np.ndarray | None
) -> Detections:
    pair = MaskPair(truth, mask, spacing=reference.spacing, ignored=ignored)
    return Detections.of_comparison(compare_pair(pair, settings.protocol, distances=False))


def _results(cases: Cases, operating: OperatingPoints, aim: Aim, settings: Settings) -> dict[str, Any]:
    """Counts of nnU-Net's predictions, of points fitted to other cases, and of the points that are kept; by target."""
    fitted = {
        group: replace(
            operating,
            points={
                name: fit([t for t, g in zip(tables, cases.groups, strict=True) if g != group], aim, settings.protocol)
                for name, tables in cases.tables.items()
            },
        )
        for group in set(cases.groups)
    }
    found = {
        "fitted_to_others": _decided(cases, [fitted[group] for group in cases.groups], settings),
        "fitted_to_all": _decided(cases, [operating] * len(cases.files), settings),
        "nnunet": cases.predicted,
    }
    results = {}
    for name in operating.points:
        rows = {key: sum((one.counts(0) for one in own[name]), Counts()) for key, own in found.items()}
        results[name] = {key: counts.as_dict(settings.protocol) for key, counts in rows.items()}
        results[name]["recall_by_size"] = _by_size({key: own[name] for key, own in found.items()})
    return results


def _decided(cases: Cases, points: Sequence[OperatingPoints], settings: Settings) -> dict[str, list[Detections]]:
    """Detections of each case at its own points, by target."""
    if len(settings.targets) > 1:
        # Classes and regions stand in each other's way, so that only the label map tells.
        tasks = list(zip(cases.files, points, strict=True))
        found = list(for_each(partial(_decided_case, settings=settings), tasks, 1))
        return {target.name: [own[target.name] for own in found] for target in settings.targets}
    (name,) = cases.tables
    own = []
    for table, operating in zip(cases.tables[name], points, strict=True):
        point = operating.points[name]
        own.append(table[THRESHOLDS.index(point.threshold)].without_small(point.min_component_size))
    return {name: own}


def _decided_case(task: tuple[CaseFiles, OperatingPoints], settings: Settings) -> dict[str, Detections]:
    files, operating = task
    reference, ignored, probabilities = _read(files, settings)
    labels = decide(probabilities, settings.targets, operating, spacing=reference.spacing)
    return {
        target.name: _compared(target.mask(reference.array), target.mask(labels), reference, settings, ignored)
        for target in settings.targets
    }


def _by_size(found: Mapping[str, Sequence[Detections]]) -> dict[str, dict[str, float | None]]:
    """Recall of the thirds of the lesions by size, for each row."""
    sizes = np.concatenate([one.lesions for one in found["nnunet"]])
    if not len(sizes):
        return {}
    third = np.argsort(np.argsort(sizes, kind="stable"), kind="stable") * len(THIRDS) // len(sizes)
    recalls: dict[str, dict[str, float | None]] = {name: {} for name in THIRDS}
    for key, own in found.items():
        is_found = np.concatenate([one.largest_match for one in own]) >= 0
        for number, name in enumerate(THIRDS):
            recalls[name][key] = float(is_found[third == number].mean()) if (third == number).any() else None
    return recalls


def _lines(operating: OperatingPoints, results: Mapping[str, Any], cases: Cases, trained_on_cases: bool) -> list[str]:
    titles = {
        "nnunet": "nnU-Net's own predictions",
        "fitted_to_others": f"fitted to other {'folds' if cases.several_folds else 'cases'}: expect this",
        "fitted_to_all": "fitted to these cases, as it is kept",
    }
    lines = []
    if trained_on_cases:
        lines.append(
            "the network of fold all was trained on these very cases: nothing here says what to expect of others"
        )
    for name, point in operating.points.items():
        size = f"components of {point.min_component_size:.6g} {cases.unit} or more"
        lines += ["", f"{name}: probability {point.threshold:g} or more, {size}"]
        lines.append(f"  {'':40}recall  precision     F1  false positives per case")
        for key, title in titles.items():
            numbers = [results[name][key][column] for column in SHOWN]
            texts = ["-" if number is None else f"{number:.2f}" for number in numbers]
            lines.append(f"  {title:40}{texts[0]:>6}  {texts[1]:>9}  {texts[2]:>5}  {texts[3]:>24}")
        for third, recalls in results[name]["recall_by_size"].items():
            before, after = recalls["nnunet"], recalls["fitted_to_others"]
            if before is not None and after is not None:
                lines.append(
                    f"  recall of the {third} third of the lesions: {before:.2f}, fitted to others {after:.2f}"
                )
    return lines
