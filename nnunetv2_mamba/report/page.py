"""The page: everything computed, set by the template, written to one file."""

from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import combinations
from pathlib import Path
from typing import Any

import jinja2

from nnunetv2_mamba.evaluation.metrics import pooled
from nnunetv2_mamba.evaluation.protocol import Protocol
from nnunetv2_mamba.files import written_aside
from nnunetv2_mamba.report import wording
from nnunetv2_mamba.report.metric_tables import cost_table, definitions
from nnunetv2_mamba.report.source import Source, common_cases
from nnunetv2_mamba.report.statistics import DRAWS
from nnunetv2_mamba.report.svg import MODEL_COLOURS, marker_path, page_style
from nnunetv2_mamba.report.target_view import TargetView, TargetViews

TEMPLATES = Path(__file__).parent / "templates"


class Report:
    """A report of one or several models on the same targets.

    Args:
        sources: the models.
        patient_of: what the cases of one patient have in common; each case is its own patient unless given.

    Raises:
        ValueError: there is no source, or they cannot be compared.
    """

    def __init__(self, sources: Sequence[Source], patient_of: Callable[[str], str] | None = None) -> None:
        _require_comparable(sources)
        self._sources = sources
        self._patient_of = patient_of
        self._summary = sources[0].summary
        self._names = [source.name for source in sources]
        protocol = Protocol.from_dict(self._summary["protocol"])
        self._views = TargetViews(sources, partial(pooled, protocol=protocol), patient_of)

    def html(self) -> str:
        """The page."""
        with page_style():
            targets = [self._views.view(index, name) for index, name in enumerate(self._sources[0].targets)]
        return (
            _environment()
            .get_template("report.html.j2")
            .render(
                names=self._names,
                count=wording.count,
                markers=[marker_path(place) for place in range(len(self._names))],
                colours=MODEL_COLOURS,
                targets=targets,
                cost=cost_table(self._names, [source.cost for source in self._sources]),
                sections=_sections(targets),
                pictures=self._views.pictures.all,
                about=self._about(),
                rules=wording.protocol_in_words(
                    self._summary["protocol"], self._summary["unit"], self._sources[0].size_unit
                ),
                protocol=self._summary["protocol"],
                protocol_hash=self._summary["protocol_hash"],
                definitions=definitions(self._summary["metrics"]),
                remarks=self._remarks(),
                made_by=self._summary["made_by"],
            )
        )

    def _about(self) -> list[str]:
        numbers = [len(source.case_files) for source in self._sources]
        cases = f"{wording.extent(numbers)} case{'' if max(numbers) == 1 else 's'}"
        if self._patient_of is not None:
            patients = [len(set(map(self._patient_of, source.case_files))) for source in self._sources]
            cases += f" of {wording.extent(patients)} patient{'' if max(patients) == 1 else 's'}"
        images = "images" if self._summary["dimensions"] == 2 else "volumes"
        return [
            wording.count(len(self._names), "model"),
            cases,
            images,
            f"{wording.count(len(self._sources[0].targets), 'target')}: {', '.join(self._sources[0].targets)}",
        ]

    def _remarks(self) -> list[str]:
        """What a reader has to know before believing the numbers."""
        draws = "cases" if self._patient_of is None else "patients"
        remarks = [
            f"Intervals hold 95 % of what {DRAWS:,} draws of as many {draws} with replacement give, always the same "
            "draws. They say how far the numbers would move with other cases, not with another training, and of few "
            "cases they are too narrow: whether models differ, tests decide."
        ]
        if self._patient_of is None:
            remarks.append("Where several cases are of one patient, intervals are too narrow and p values too small.")
        remarks = [*_folds(self._sources), *remarks]
        common = len(common_cases(self._sources))
        sizes = [len(source.case_files) for source in self._sources]
        if any(size != common for size in sizes):
            each = wording.listing([f"{name} on {size:,}" for name, size in zip(self._names, sizes, strict=True)])
            remarks.append(
                f"The models were not evaluated on the same cases: {each}; {common:,} are common to all. "
                "Tables are of each model's own cases, pairs of those that both have."
            )
        missing = {
            source.name: sum(entry["prediction_file"] is None for entry in source.summary["cases"])
            for source in self._sources
        }
        for name, cases in missing.items():
            if cases:
                remarks.append(f"{wording.count(cases, 'case')} of {name} had no prediction and counted as empty.")
        return remarks


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _folds(sources: Sequence[Source]) -> list[str]:
    """Which folds were pooled, and which models have learned from the cases that they are judged by."""
    models: dict[str, list[str]] = {}
    for source in sources:
        if source.folds:
            folds = wording.listing([str(fold) for fold in source.folds])
            models.setdefault(f"fold{'' if len(source.folds) == 1 else 's'} {folds}", []).append(source.name)
    sentences = []
    if models:
        pooled = "; ".join(f"{wording.listing(names)} of {folds}" for folds, names in models.items())
        sentences.append(f"Validation cases are pooled: {pooled}.")
    trained = [source.name for source in sources if source.trained_on_cases]
    if trained:
        sentences.append(
            f"{wording.listing(trained)} {'was' if len(trained) == 1 else 'were'} trained on the very cases that are "
            "counted here: the numbers say nothing of other cases, and are not to be compared with those of models "
            "that were not."
        )
    return sentences


def _sections(targets: Sequence[TargetView]) -> list[tuple[str, str]]:
    """Place and name of the sections that the page has."""
    there = {
        "froc": any(target.froc for target in targets),
        "pictures": any(target.views for target in targets),
        "sensitivity": any(target.sensitivity for target in targets),
    }
    every = {
        "outcome": "Outcome",
        "models": "Models",
        "sizes": "Lesions by size",
        "cases": "Dice of each case",
        "froc": "Free-response ROC",
        "pictures": "Cases to look at",
        "sensitivity": "Under other protocols",
        "rules": "Protocol",
        "definitions": "Definitions",
    }
    return [(place, words) for place, words in every.items() if there.get(place, True)]


def _require_comparable(sources: Sequence[Source]) -> None:
    if not sources:
        raise ValueError("there is nothing to report: name a trained model's folder or a folder of predictions.")
    first = sources[0]
    for source in sources[1:]:
        for what, one, other in (
            ("protocol", first.summary["protocol_hash"], source.summary["protocol_hash"]),
            ("targets", first.targets, source.targets),
            ("labels", _labels(first), _labels(source)),
            ("ignore label", first.summary.get("ignore_label"), source.summary.get("ignore_label")),
            ("unit", first.size_unit, source.size_unit),
        ):
            if one != other:
                raise ValueError(
                    f"{first.name} and {source.name} cannot be compared, their {what} differ ({one} and {other}): "
                    "evaluate them in the same way, or report them apart."
                )
    for one, other in combinations(sources, 2):
        for case in common_cases([one, other]):
            hashes = {(source.case_files[case].get("stamp") or {}).get("reference") for source in (one, other)}
            # What was not written by an evaluation may have none.
            if len(hashes - {None}) > 1:
                raise ValueError(
                    f"{one.name} and {other.name} cannot be compared, their references of the case {case} differ: "
                    "evaluate them with the same references, whose folder is named with -ref, or report them apart."
                )


def _labels(source: Source) -> dict[str, Any]:
    return {name: entry.get("labels") for name, entry in source.summary["targets"].items()}


def write_report(sources: Sequence[Source], path: Path, patient_of: Callable[[str], str] | None = None) -> None:
    """Write the report of one or several models as one HTML file that needs nothing else.

    Args:
        sources: the models.
        path: of the file.
        patient_of: what the cases of one patient have in common.

    Raises:
        OSError: a segmentation cannot be read, or the file not be written.
        ValueError: the models cannot be compared.
    """
    text = Report(sources, patient_of).html()
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")
