"""Everything that a report shows of one target."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, islice

import numpy as np

from nnunetv2_mamba.evaluation.targets import Target
from nnunetv2_mamba.report import metric_tables, plots, wording
from nnunetv2_mamba.report.cards import Card, card_of
from nnunetv2_mamba.report.choice import choose
from nnunetv2_mamba.report.overlays import CaseView, view
from nnunetv2_mamba.report.pairs import Family, PairView, pair_view
from nnunetv2_mamba.report.pictures import Pictures
from nnunetv2_mamba.report.reported_model import ReportedModel, common_cases, nan_for_null
from nnunetv2_mamba.report.scores import ModelPair, ModelResult, ModelScores, adjust, compare_models
from nnunetv2_mamba.report.sensitivity import order_changes, sensitivity_rows, sensitivity_table
from nnunetv2_mamba.report.sizes import bounds_for, recall_by_size, sizes_of_each_lesion
from nnunetv2_mamba.report.statistics import Pooled, Resampling
from nnunetv2_mamba.report.strata import strata_table
from nnunetv2_mamba.report.style import data_uri
from nnunetv2_mamba.report.tables import Table


@dataclass(frozen=True, kw_only=True)
class TargetView:
    """Tables, plots and sentences of one target; plots are data URIs.

    Attributes:
        name: of the target.
        cards: the outcome of each model.
        pairs: comparisons of two models.
        overview: models against the most important metrics.
        metrics: every metric.
        empty_cases: number of cases by which masks are empty.
        lesion_free: false positives in cases without a lesion.
        sizes: plot of recall against size.
        per_point: how many lesions a point of it stands for.
        strata: the protocol's groups by size.
        dice: plot of the Dice of each case.
        cases: every case.
        froc: plot of the free-response ROC; None without probabilities.
        froc_note: which cases lack probabilities.
        views: cases as pictures.
        sensitivity: metrics under other protocols; None without them.
        order_changes: sentences on the order of the models under other protocols.
    """

    name: str
    cards: list[Card]
    pairs: list[PairView]
    overview: Table
    metrics: Table
    empty_cases: Table
    lesion_free: Table
    sizes: str
    per_point: str
    strata: Table
    dice: str
    cases: Table
    froc: str | None
    froc_note: str
    views: list[CaseView]
    sensitivity: Table | None
    order_changes: list[str]


class TargetViews:
    """Makes the views of all targets.

    Args:
        models: all models.
        pooled: metrics from summed counts.
        patient_of: patient of a case; None where each case is drawn separately.

    Attributes:
        pictures: images of the views.
        family: tests whose p values are corrected together.
    """

    def __init__(
        self, models: Sequence[ReportedModel], pooled: Pooled, patient_of: Callable[[str], str] | None
    ) -> None:
        self._models, self._pooled, self._group_of = models, pooled, patient_of or str
        self._summary = models[0].summary
        self._names = [model.name for model in models]
        self._common = common_cases(models)
        self.pictures = Pictures()
        # Models with the same cases share their draws.
        drawn: dict[tuple[str, ...], Resampling] = {}
        self._resampling = []
        for model in models:
            groups = tuple(map(self._group_of, model.case_files))
            self._resampling.append(drawn.setdefault(groups, Resampling(groups)))
        self._results = {
            target: [self._result(place, target) for place in range(len(models))] for target in models[0].targets
        }
        pairs = {target: self._pairs(results) for target, results in self._results.items()}
        adjusted = iter(adjust([pair for each in pairs.values() for pair in each]))
        self._adjusted = {target: list(islice(adjusted, len(each))) for target, each in pairs.items()}
        self.family = Family(sum(map(len, pairs.values())), "patient" if patient_of else "case")

    def view(self, target: str) -> TargetView:
        """Everything about one target; to be called within `style.page_style`."""
        results, pairs = self._results[target], self._adjusted[target]
        metrics, size_unit = self._summary["metrics"], self._models[0].size_unit
        names = list(dict.fromkeys(case for result in results for case in result.cases.names))
        rows = sensitivity_rows(self._models, target)
        sizes, per_point = self._sizes(results, size_unit)
        curves = _curves(results)
        dice = {result.place: result.cases.metric("DSC") for result in results}
        return TargetView(
            name=target,
            cards=[
                card_of(result, self._summary["protocol"], model.trained_on_cases)
                for result, model in zip(results, self._models, strict=True)
            ],
            pairs=[pair_view(pair, names=self._names, metrics=metrics, family=self.family) for pair in pairs],
            overview=metric_tables.overview(results, metrics),
            metrics=metric_tables.all_metrics(results, metrics),
            empty_cases=metric_tables.empty_cases(results),
            lesion_free=metric_tables.lesion_free(results, size_unit),
            sizes=sizes,
            per_point=per_point,
            strata=strata_table(results, self._summary["protocol"], size_unit),
            dice=data_uri(plots.values_per_case(dice, self._names, "Dice")),
            cases=metric_tables.per_case(results, names),
            froc=data_uri(plots.froc(curves, self._names)) if curves else None,
            froc_note=_froc_note(results),
            views=self._case_views(results, target),
            sensitivity=sensitivity_table(rows, self._names) if rows else None,
            order_changes=order_changes(rows, self._names) if rows else [],
        )

    def _result(self, place: int, target: str) -> ModelResult:
        model, resampling = self._models[place], self._resampling[place]
        return ModelResult(
            place=place,
            name=model.name,
            entry=model.summary["targets"][target],
            scores=ModelScores(model.cases(target), resampling, self._pooled),
            resampling=resampling,
            lesions=model.lesions(target),
        )

    def _pairs(self, results: Sequence[ModelResult]) -> list[ModelPair]:
        pairs = []
        for places in combinations(range(len(results)), 2):
            if cases := common_cases([self._models[place] for place in places]):
                groups, models = [*map(self._group_of, cases)], [result.cases for result in results]
                pairs.append(compare_models(places, models, names=cases, groups=groups, pooled=self._pooled))
        return pairs

    def _sizes(self, results: Sequence[ModelResult], size_unit: str) -> tuple[str, str]:
        sizes = sizes_of_each_lesion([(result.cases.names, result.lesions) for result in results])
        bounds = bounds_for(sizes)
        bins = {
            each.place: recall_by_size(each.lesions, bounds, cases=each.cases.names, resampling=each.resampling)
            for each in results
        }
        figure = plots.recall_by_size(bins, sizes, names=self._names, unit=size_unit)
        numbers = [each.lesions for entry in bins.values() for each in entry]
        words = "There are no lesions."
        if numbers:
            words = f"A point stands for {wording.extent(numbers)} lesion{'' if max(numbers) == 1 else 's'}."
        return data_uri(figure), words

    def _case_views(self, results: Sequence[ModelResult], target: str) -> list[CaseView]:
        labels = tuple(self._summary["targets"][target]["labels"])
        views = []
        for choice in choose([result.cases for result in results], self._common):
            if readable := tuple(model for model in choice.models if self._models[model].reader is not None):
                chosen = replace(choice, models=readable)
                views.append(view(chosen, self._models, target=Target(target, labels), pictures=self.pictures))
        return views


def _curves(results: Sequence[ModelResult]) -> Mapping[int, plots.Froc]:
    """Free-response ROC by index of the model; models without probabilities are left out."""
    curves = {}
    for result in results:
        if froc := result.entry.get("froc"):
            point = _floats([result.entry["pooled"][name] for name in ("fp_per_case", "lesion_recall")])
            curves[result.place] = plots.Froc(_floats(froc["fp_per_case"]), _floats(froc["lesion_recall"]), point)
    return curves


def _froc_note(results: Sequence[ModelResult]) -> str:
    """A sentence where probabilities are missing for some cases; empty where all are there."""
    words = []
    for result in results:
        number, cases = (result.entry.get("froc") or {"cases": 0})["cases"], len(result.cases.names)
        if number < cases:
            words.append(f"{result.name} has them for {number:,} of {wording.count(cases, 'case')}")
    return f"Probabilities were not saved for all cases: {', '.join(words)}." if words else ""


def _floats(values: Sequence[float | None]) -> np.ndarray:
    return np.array([nan_for_null(value) for value in values])
