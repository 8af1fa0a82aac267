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
from nnunetv2_mamba.evaluation.errors import EvaluationError, GeometryError
from nnunetv2_mamba.evaluation.metrics import METRICS
from nnunetv2_mamba.evaluation.presets import PRESETS, protocol_from
from nnunetv2_mamba.evaluation.protocol import Protocol
from nnunetv2_mamba.evaluation.results import LESIONS_FILE, SUMMARY_FILE, Evaluation, read_evaluation
from nnunetv2_mamba.folders.sources import EvaluationInput, is_model, predictions, trained_model
from nnunetv2_mamba.report.cost import cost_of

if TYPE_CHECKING:
    from nnunetv2_mamba.report import ReportedModel


@dataclass
class Report:
    """Write one HTML page about models: lesion-wise metrics with intervals, tests and pictures.

    Each SOURCE is the folder of a trained model, whose validated folds are pooled, or a folder of predictions. A source
    without an evaluation under this protocol, or with files that have changed, is evaluated first.
    """

    sources: list[Path] = field(metadata=option("trained models, or folders of predictions", "SOURCE", nargs="+"))
    out: Path = field(default=Path("report.html"), metadata=option("file to write", "-o"))
    ref: Path | None = field(
        default=None,
        metadata=option("folder of the reference segmentations; default: that of the trained model", "-ref"),
    )
    djfile: Path | None = field(
        default=None, metadata=option("dataset.json; default: that in each folder of predictions", "-djfile")
    )
    pfile: Path | None = field(
        default=None, metadata=option("plans.json; default: that in each folder of predictions", "-pfile")
    )
    images: Path | None = field(
        default=None, metadata=option("folder of the images; default: that of the raw dataset", metavar="DIR")
    )
    protocol: str | None = field(
        default=None,
        metadata=option(
            f"protocol: a JSON file, or one of {', '.join(PRESETS)}; default: that of the last evaluation",
            metavar="NAME",
        ),
    )
    sensitivity: bool = field(
        default=False, metadata=option("evaluate under other protocols too, and show how far the metrics move")
    )
    allow_missing: bool = field(default=False, metadata=option("count a missing prediction as predicted empty"))
    patient: str | None = field(
        default=None,
        metadata=option(
            "regular expression that matches the patient in the name of a case, e.g. '^[^_]+_[0-9]+', or has it as its "
            "first group, e.g. '^(.+)_[0-9]+$': intervals and tests then use patients instead of cases",
            metavar="REGEX",
        ),
    )
    processes: int | None = field(
        default=None, metadata=option("number of processes; default: number of cores, at most 8", "-np")
    )

    def run(self) -> int:
        """Evaluate where needed, write the page and print its path."""
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
                self._reported(name, folder, source=source, earlier=known, protocol=protocol)
                for name, folder, source, known in zip(names, self.sources, sources, earlier, strict=True)
            ]
            self.out.parent.mkdir(parents=True, exist_ok=True)
            write_report(reported, self.out, patient_of)
        except (EvaluationError, GeometryError, OSError, ValueError) as error:
            raise SystemExit(f"{PROGRAM} report: {error}") from error
        print(self.out)
        return 0

    def _protocol(self) -> Protocol:
        """The named protocol, else the one that all evaluated sources share, else the default."""
        if self.protocol is not None:
            return protocol_from(self.protocol)
        evaluations = [evaluation for folder in self.sources if (evaluation := _evaluated(folder)) is not None]
        used = [Protocol.from_dict(evaluation.summary["protocol"]) for evaluation in evaluations]
        return used[0] if len({protocol.hash for protocol in used}) == 1 else Protocol()

    def _reported(
        self, name: str, folder: Path, *, source: EvaluationInput, earlier: Evaluation | None, protocol: Protocol
    ) -> "ReportedModel":
        from nnunetv2_mamba.report import ReportedModel

        reason = _why_again(source, earlier, protocol=protocol, sensitivity=self.sensitivity)
        if reason or earlier is None:
            print(f"{name}: evaluating, {reason}")
            other_rules = earlier is not None and earlier.summary["protocol_hash"] != protocol.hash
            before = {} if earlier is None else earlier.summary
            earlier = evaluate(
                source,
                protocol,
                self.sensitivity,
                allow_missing=self.allow_missing,
                processes=self.processes,
                progress=True,
                geometry=before.get("geometry", "world"),
                values={int(old): new for old, new in before.get("values", {}).items()},
            )
            for warning in earlier.summary["warnings"]:
                print(f"{name}: warning: {warning}", file=sys.stderr)
            # Results under another protocol were asked for by the user: they are not overwritten.
            if not other_rules:
                _keep(earlier, source.folder, name)
        # The folders may have moved since the evaluation.
        images = source.about["image_folder"] or earlier.summary.get("image_folder")
        return ReportedModel(
            name=name,
            summary=earlier.summary | {"cases": _with_files(earlier.summary["cases"], source), "image_folder": images},
            parts=earlier.lesions,
            reader=source.reader,
            ignore_label=source.ignore_label,
            images=self.images,
            cost=_cost(folder),
        )

    def _source(self, folder: Path, earlier: Evaluation | None) -> EvaluationInput:
        known = {} if earlier is None else earlier.summary
        if is_model(folder):
            # With folders of predictions among the sources, -ref names the references of the predictions.
            named = self.ref if all(map(is_model, self.sources)) else None
            reference = named or _folder(known.get("reference_folder"))
            return trained_model(folder, reference=reference, images=_folder(known.get("image_folder")))
        reference = self.ref or _folder(known.get("reference_folder"))
        if reference is None:
            raise EvaluationError(
                f"{folder} is not a trained model (it has no fold_0, ...), and predictions need references: name their "
                "folder with -ref."
            )
        images = self.images or _folder(known.get("image_folder"))
        return predictions(folder, reference, dataset_file=self.djfile, plans_file=self.pfile, images=images)


def labels(folders: Sequence[Path]) -> list[str]:
    """The shortest names that tell folders apart.

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


def _require_same_targets(names: Sequence[str], sources: Sequence[EvaluationInput]) -> None:
    """Refuse models of different datasets before any of them is evaluated."""
    for name, source in zip(names, sources, strict=True):
        if source.targets != sources[0].targets:
            one, other = (", ".join(target.name for target in each.targets) for each in (sources[0], source))
            raise ValueError(
                f"{names[0]} and {name} cannot be compared, their targets differ ({one} and {other}): "
                "report them separately."
            )


def _evaluated(folder: Path) -> Evaluation | None:
    """The evaluation in a folder; None where there is none that can be read."""
    if not (folder / SUMMARY_FILE).is_file() or not (folder / LESIONS_FILE).is_file():
        return None
    try:
        return read_evaluation(folder)
    except (EvaluationError, OSError, ValueError, KeyError, TypeError) as error:
        print(f"{folder / SUMMARY_FILE} is not used: {error}", file=sys.stderr)
        return None


def _why_again(source: EvaluationInput, earlier: Evaluation | None, *, protocol: Protocol, sensitivity: bool) -> str:
    """Why a source has to be evaluated; empty where the earlier evaluation is still valid."""
    if earlier is None:
        return "there is no earlier evaluation"
    if earlier.summary["protocol_hash"] != protocol.hash:
        return f"earlier results have the protocol {earlier.summary['protocol']['name']}"
    if new := METRICS.keys() - earlier.summary["metrics"].keys():
        return f"earlier results lack {', '.join(sorted(new))}"
    if sensitivity and not earlier.summary["sensitivity"]:
        return "there are no results for other protocols"
    labels = {name: tuple(target["labels"]) for name, target in earlier.summary["targets"].items()}
    ignored = earlier.summary["ignore_label"]
    if labels != {target.name: target.labels for target in source.targets} or ignored != source.ignore_label:
        return "its labels differ from earlier results"
    stamps = {entry["case"]: entry["stamp"] for entry in earlier.summary["cases"]}
    if stamps.keys() != {case.case for case in source.cases}:
        return "its cases differ from earlier results"
    changed = next((case.case for case in source.cases if case.stamp() != stamps[case.case]), None)
    return f"the files of {changed} have changed" if changed else ""


def _keep(evaluation: Evaluation, folder: Path, name: str) -> None:
    try:
        evaluation.write(folder)
    except OSError as error:
        print(f"{name}: the evaluation cannot be kept for the next report ({error})", file=sys.stderr)


def _with_files(entries: Sequence[dict[str, Any]], source: EvaluationInput) -> list[dict[str, Any]]:
    """Entries of the cases with the present paths of the files."""
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
    """Cost of the training over all folds: the median time and the largest memory."""
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
        raise ValueError(f"--patient {pattern} is not a regular expression: {error}.") from error

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
            f"--patient gives each of the {len(cases)} cases a patient of its own: name only the part that all cases "
            "of a patient share, or leave --patient out."
        )


def _folder(text: str | None) -> Path | None:
    return Path(text) if text and Path(text).is_dir() else None


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
