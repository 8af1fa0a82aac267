"""The page: content from the models, layout from the template, written to one file."""

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
from nnunetv2_mamba.report.metric_tables import cost_table, definitions, protocol_table
from nnunetv2_mamba.report.reported_model import ReportedModel, common_cases
from nnunetv2_mamba.report.statistics import DRAWS
from nnunetv2_mamba.report.style import colour, page_style
from nnunetv2_mamba.report.target_view import TargetViews

TEMPLATES = Path(__file__).parent / "templates"


class ReportPage:
    """A report of one or several models on the same targets.

    Args:
        models: at least one.
        patient_of: patient of a case; each case is drawn separately unless given.

    Raises:
        ValueError: there is no model, or the models cannot be compared.
    """

    def __init__(self, models: Sequence[ReportedModel], patient_of: Callable[[str], str] | None = None) -> None:
        _require_comparable(models)
        self._models = models
        self._patient_of = patient_of
        self._summary = models[0].summary
        self._names = [model.name for model in models]
        protocol = Protocol.from_dict(self._summary["protocol"])
        self._views = TargetViews(models, partial(pooled, protocol=protocol), patient_of)

    def html(self) -> str:
        """The page."""
        with page_style():
            targets = [self._views.view(name) for name in self._models[0].targets]
        template = _environment().get_template("report.html.j2")
        return template.render(
            names=self._names,
            count=wording.count,
            colours=[colour(place) for place in range(len(self._names))],
            targets=targets,
            cost=cost_table(self._names, [model.cost for model in self._models]),
            pictures=self._views.pictures.all,
            about=self._about(),
            protocol=self._summary["protocol"],
            protocol_hash=self._summary["protocol_hash"],
            rules=protocol_table(self._summary["protocol"]),
            definitions=definitions(self._summary["metrics"]),
            remarks=self._remarks(),
            tests=self._views.family.in_words(),
            made_by=self._summary["made_by"],
        )

    def _about(self) -> list[str]:
        numbers = [len(model.case_files) for model in self._models]
        cases = f"{wording.extent(numbers)} case{'' if max(numbers) == 1 else 's'}"
        if self._patient_of is not None:
            patients = [len(set(map(self._patient_of, model.case_files))) for model in self._models]
            cases += f" of {wording.extent(patients)} patient{'' if max(patients) == 1 else 's'}"
        return [
            wording.count(len(self._names), "model"),
            cases,
            "images" if self._summary["dimensions"] == 2 else "volumes",
            f"{wording.count(len(self._models[0].targets), 'target')}: {', '.join(self._models[0].targets)}",
        ]

    def _remarks(self) -> list[str]:
        """What limits the numbers."""
        draws = "cases" if self._patient_of is None else "patients"
        remarks = _folds(self._models)
        remarks.append(
            f"Intervals (95 %) are from {DRAWS:,} draws of as many {draws} with replacement, always the same draws. "
            "They say how far the numbers move with other cases, not with another training. With few cases they are "
            "too narrow; whether models differ is decided by tests."
        )
        if self._patient_of is None:
            remarks.append("If several cases are from one patient, intervals are too narrow and p values too small.")
        common = len(common_cases(self._models))
        sizes = [len(model.case_files) for model in self._models]
        if any(size != common for size in sizes):
            each = wording.listing([f"{name} on {size:,}" for name, size in zip(self._names, sizes, strict=True)])
            remarks.append(
                f"The models were evaluated on different cases: {each}; {common:,} are common to all. Tables show the "
                "cases of each model, pairs the cases that both have."
            )
        for model in self._models:
            if missing := sum(entry["prediction_file"] is None for entry in model.summary["cases"]):
                remarks.append(
                    f"{wording.count(missing, 'case')} of {model.name} had no prediction and counted as empty."
                )
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


def _folds(models: Sequence[ReportedModel]) -> list[str]:
    """The pooled folds, and the models that were trained on their cases."""
    folds = [
        f"{model.name}: fold{'' if len(model.folds) == 1 else 's'} {wording.listing([*map(str, model.folds)])}"
        for model in models
        if model.folds
    ]
    sentences = [f"Validation cases are pooled ({'; '.join(folds)})."] if folds else []
    if trained := [model.name for model in models if model.trained_on_cases]:
        sentences.append(
            f"{wording.listing(trained)} {'was' if len(trained) == 1 else 'were'} trained on the cases of this page: "
            "the numbers do not hold for other cases and must not be compared with those of other models."
        )
    return sentences


def _require_comparable(models: Sequence[ReportedModel]) -> None:
    if not models:
        raise ValueError("there is nothing to report: name a trained model's folder or a folder of predictions.")
    first = models[0]
    for model in models[1:]:
        for what, one, other in (
            ("protocol", first.summary["protocol_hash"], model.summary["protocol_hash"]),
            ("targets", first.targets, model.targets),
            ("labels", _labels(first), _labels(model)),
            ("ignore label", first.summary.get("ignore_label"), model.summary.get("ignore_label")),
            ("unit", first.size_unit, model.size_unit),
        ):
            if one != other:
                raise ValueError(
                    f"{first.name} and {model.name} cannot be compared, their {what} differ ({one} and {other}): "
                    "evaluate them in the same way, or report them separately."
                )
    for one, other in combinations(models, 2):
        for case in common_cases([one, other]):
            hashes = {(model.case_files[case].get("stamp") or {}).get("reference") for model in (one, other)}
            # Summaries from other sources may have no hash.
            if len(hashes - {None}) > 1:
                raise ValueError(
                    f"{one.name} and {other.name} cannot be compared, their references of the case {case} differ: "
                    "evaluate them with the same references, whose folder is named with -ref, or report them "
                    "separately."
                )


def _labels(model: ReportedModel) -> dict[str, Any]:
    return {name: entry.get("labels") for name, entry in model.summary["targets"].items()}


def write_report(models: Sequence[ReportedModel], path: Path, patient_of: Callable[[str], str] | None = None) -> None:
    """Write the report of one or several models as one HTML file that needs no other file.

    Args:
        models: at least one.
        path: of the file.
        patient_of: patient of a case.

    Raises:
        OSError: a segmentation cannot be read, or the file cannot be written.
        ValueError: the models cannot be compared.
    """
    text = ReportPage(models, patient_of).html()
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")
