"""``nnUNetv2_mamba report``: one page about one or several models."""

import re
import statistics
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunetv2_mamba.commands.evaluate import evaluate
from nnunetv2_mamba.commands.options import PROGRAM, option
from nnunetv2_mamba.evaluation.errors import EvaluationError
from nnunetv2_mamba.evaluation.images import GeometryError
from nnunetv2_mamba.evaluation.presets import PRESETS, protocol_from
from nnunetv2_mamba.evaluation.protocol import Protocol
from nnunetv2_mamba.evaluation.results import LESIONS_FILE, SUMMARY_FILE, Evaluation, read_evaluation
from nnunetv2_mamba.folders.sources import Source, is_model, predictions, trained_model
from nnunetv2_mamba.report.cost import cost_of

if TYPE_CHECKING:
    from nnunetv2_mamba.report import Source as Reported


@dataclass
class Report:
    """Write one HTML page about models: what they found, missed and invented, and how sure that is.

    Each SOURCE is the folder of a trained model, whose validated folds are pooled, or a folder of predictions. What has
    not been evaluated by these rules, or has changed since, is evaluated first.
    """

    sources: list[Path] = field(metadata=option("trained models, or folders of predictions", "SOURCE", nargs="+"))
    out: Path = field(default=Path("report.html"), metadata=option("file to write", "-o"))
    ref: Path | None = field(
        default=None,
        metadata=option("folder of the reference segmentations; trained models mostly know their own", "-ref"),
    )
    djfile: Path | None = field(
        default=None, metadata=option("dataset.json; that in each folder of predictions unless given", "-djfile")
    )
    pfile: Path | None = field(
        default=None, metadata=option("plans.json; that in each folder of predictions unless given", "-pfile")
    )
    images: Path | None = field(
        default=None, metadata=option("folder of the images; that of the raw dataset unless given", metavar="DIR")
    )
    protocol: str | None = field(
        default=None,
        metadata=option(
            f"rules: a JSON file, or one of {', '.join(PRESETS)}; those of the last evaluation unless given",
            metavar="NAME",
        ),
    )
    sensitivity: bool = field(
        default=False, metadata=option("evaluate under other protocols too, and show how far the results move")
    )
    allow_missing: bool = field(default=False, metadata=option("count a missing prediction as predicted empty"))
    patient: str | None = field(
        default=None,
        metadata=option(
            "regular expression for the part of a case's name that is its patient's, e.g. '^[^_]+_[0-9]+', or that has "
            "it as its first group, e.g. '^(.+)_[0-9]+$': intervals and tests then take patients",
            metavar="REGEX",
        ),
    )
    processes: int | None = field(
        default=None, metadata=option("cases at a time; as many as there are cores, at most 8, unless given", "-np")
    )

    def run(self) -> int:
        """Evaluate what has to be, write the page and print where it is."""
        from nnunetv2_mamba.report import write_report

        try:
            patient_of = None if self.patient is None else _patient_of(self.patient)
            protocol = self._protocol()
            names = labels(self.sources)
            earlier = [_evaluated(folder) for folder in self.sources]
            sources = [self._source(folder, known) for folder, known in zip(self.sources, earlier, strict=True)]
            _require_same_targets(names, sources)
            if patient_of is not None:
                _require_shared_patients(patient_of, {case.case for source in sources for case in source.cases})
            reported = [
                self._reported(name, folder, source, known, protocol)
                for name, folder, source, known in zip(names, self.sources, sources, earlier, strict=True)
            ]
            self.out.parent.mkdir(parents=True, exist_ok=True)
            write_report(reported, self.out, patient_of)
        except (EvaluationError, GeometryError, OSError, ValueError) as error:
            raise SystemExit(f"{PROGRAM} report: {error}") from error
        print(self.out)
        return 0

    def _protocol(self) -> Protocol:
        """The rules asked for, else those that all evaluated sources were evaluated by, else ours."""
        if self.protocol is not None:
            return protocol_from(self.protocol)
        evaluations = [evaluation for folder in self.sources if (evaluation := _evaluated(folder)) is not None]
        used = [Protocol.from_dict(evaluation.summary["protocol"]) for evaluation in evaluations]
        return used[0] if len({protocol.hash for protocol in used}) == 1 else Protocol()

    def _reported(
        self, name: str, folder: Path, source: Source, earlier: Evaluation | None, protocol: Protocol
    ) -> "Reported":
        from nnunetv2_mamba.report import Source as Reported

        reason = _why_again(source, earlier, protocol, self.sensitivity)
        if reason or earlier is None:
            print(f"{name}: evaluating, {reason}")
            other_rules = earlier is not None and earlier.summary["protocol_hash"] != protocol.hash
            earlier = evaluate(source, protocol, self.sensitivity, self.allow_missing, self.processes, progress=True)
            for warning in earlier.summary["warnings"]:
                print(f"{name}: warning: {warning}", file=sys.stderr)
            # Results by other rules are somebody's; those of a report can be had again.
            if not other_rules:
                _keep(earlier, source.folder, name)
        # Written when all of it was at the same places; now it may have moved.
        images = source.about["image_folder"] or earlier.summary.get("image_folder")
        return Reported(
            name=name,
            summary=earlier.summary | {"cases": _with_files(earlier.summary["cases"], source), "image_folder": images},
            parts=earlier.lesions,
            reader=source.reader,
            ignore_label=source.ignore_label,
            images=self.images,
            cost=_cost(folder),
        )

    def _source(self, folder: Path, earlier: Evaluation | None) -> Source:
        known = {} if earlier is None else earlier.summary
        if is_model(folder):
            # Beside folders of predictions, the references named are those of the predictions.
            named = self.ref if all(map(is_model, self.sources)) else None
            reference = named or _folder(known.get("reference_folder"))
            return trained_model(folder, None, reference, _folder(known.get("image_folder")))
        reference = self.ref or _folder(known.get("reference_folder"))
        if reference is None:
            raise EvaluationError(
                f"{folder} has no fold_0, ... of a trained model, and predictions need their references: name their "
                "folder with -ref."
            )
        images = self.images or _folder(known.get("image_folder"))
        return predictions(folder, reference, self.djfile, self.pfile, images)


def labels(folders: Sequence[Path]) -> list[str]:
    """Names that tell folders apart and are no longer than they have to be.

    Args:
        folders: of trained models or predictions.

    Raises:
        ValueError: a folder is given twice.
    """
    paths = [folder.resolve() for folder in folders]
    if len(set(paths)) < len(paths):
        twice = next(path for path in paths if paths.count(path) > 1)
        raise ValueError(f"{twice} was given twice: name every source once.")
    trainers = [path.name.partition("__")[0] for path in paths]
    if len(set(trainers)) == len(trainers):
        return trainers
    parts = [path.parts for path in paths]
    while len({each[-1] for each in parts}) == 1:
        parts = [each[:-1] for each in parts]
    depth = 1
    while len({each[-depth:] for each in parts}) < len(parts):
        depth += 1
    return ["/".join(each[-depth:]) for each in parts]


def _require_same_targets(names: Sequence[str], sources: Sequence[Source]) -> None:
    """Refuse models of different datasets before any of them is evaluated."""
    for name, source in zip(names, sources, strict=True):
        if source.targets != sources[0].targets:
            one, other = (", ".join(target.name for target in each.targets) for each in (sources[0], source))
            raise ValueError(
                f"{names[0]} and {name} cannot be compared, their targets differ ({one} and {other}): "
                "report them apart."
            )


def _evaluated(folder: Path) -> Evaluation | None:
    """What an earlier evaluation has left in a folder; None where there is none that can be read today."""
    if not (folder / SUMMARY_FILE).is_file() or not (folder / LESIONS_FILE).is_file():
        return None
    try:
        return read_evaluation(folder)
    except (EvaluationError, OSError, ValueError, KeyError, TypeError) as error:
        print(f"{folder / SUMMARY_FILE} is of no use: {error}", file=sys.stderr)
        return None


def _why_again(source: Source, earlier: Evaluation | None, protocol: Protocol, sensitivity: bool) -> str:
    """Why a source has to be evaluated; empty where the earlier evaluation still holds."""
    if earlier is None:
        return "nothing is known of it yet"
    if earlier.summary["protocol_hash"] != protocol.hash:
        return f"earlier results are by the protocol {earlier.summary['protocol']['name']}"
    if sensitivity and not earlier.summary["sensitivity"]:
        return "other protocols are wanted too"
    labels = {name: tuple(target["labels"]) for name, target in earlier.summary["targets"].items()}
    ignored = earlier.summary["ignore_label"]
    if labels != {target.name: target.labels for target in source.targets} or ignored != source.ignore_label:
        return "its labels are not those of earlier results"
    stamps = {entry["case"]: entry["stamp"] for entry in earlier.summary["cases"]}
    if stamps.keys() != {case.case for case in source.cases}:
        return "its cases are not those of earlier results"
    changed = next((case.case for case in source.cases if case.stamp() != stamps[case.case]), None)
    return f"the files of {changed} are not those of earlier results" if changed else ""


def _keep(evaluation: Evaluation, folder: Path, name: str) -> None:
    try:
        evaluation.write(folder)
    except OSError as error:
        print(f"{name}: the evaluation cannot be kept for the next report ({error})", file=sys.stderr)


def _with_files(entries: Sequence[dict[str, Any]], source: Source) -> list[dict[str, Any]]:
    """Entries of the cases with the files as they are now."""
    files = {case.case: case for case in source.cases}
    return [
        entry
        | {
            "reference_file": str(files[entry["case"]].reference),
            "prediction_file": _text(files[entry["case"]].prediction),
        }
        for entry in entries
    ]


def _cost(folder: Path) -> dict[str, Any] | None:
    """Cost of the training, over all folds: the usual time, and the most memory."""
    costs = [cost for fold in sorted(folder.glob("fold_*")) if (cost := cost_of(fold))]
    if not costs:
        return None
    seconds = [cost["epoch_seconds"] for cost in costs if cost.get("epoch_seconds") is not None]
    memory = [cost["peak_memory_bytes"] for cost in costs if cost.get("peak_memory_bytes") is not None]
    return costs[0] | {
        "epoch_seconds": statistics.median(seconds) if seconds else None,
        "peak_memory_bytes": max(memory, default=None),
    }


def _patient_of(pattern: str) -> Callable[[str], str]:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"--patient {pattern} is no regular expression: {error}.") from error

    def patient_of(case: str) -> str:
        found = expression.search(case)
        patient = found and found[1 if expression.groups else 0]
        if patient is None:
            raise ValueError(f"--patient {pattern} does not match the case {case}.")
        return patient

    return patient_of


def _require_shared_patients(patient_of: Callable[[str], str], cases: Collection[str]) -> None:
    if len(set(map(patient_of, cases))) == len(cases):
        raise ValueError(
            f"--patient tells all cases apart, of which there are {len(cases)}, as if each were another patient's: "
            "name only the part that all cases of a patient share, or leave it out."
        )


def _folder(text: str | None) -> Path | None:
    return Path(text) if text and Path(text).is_dir() else None


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
