"""Everything that a report says of one target."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, islice

import numpy as np

from nnunetv2_mamba.evaluation.targets import Target
from nnunetv2_mamba.report import metric_tables, plots, wording
from nnunetv2_mamba.report.choice import choose
from nnunetv2_mamba.report.headline import Headline, comparison, headline
from nnunetv2_mamba.report.overlays import CaseView, view
from nnunetv2_mamba.report.pairs import Family, PairView, pair_views, per_case
from nnunetv2_mamba.report.pictures import Pictures
from nnunetv2_mamba.report.scores import Pair, Result, Scores, adjust, few_find_many, pair
from nnunetv2_mamba.report.sensitivity import (
    Row,
    empty_protocols,
    flips,
    sensitivity_rows,
    sensitivity_table,
)
from nnunetv2_mamba.report.sizes import bounds_for, recall_by_size, sizes_of_each_lesion
from nnunetv2_mamba.report.source import Source, common_cases, nan_for_null
from nnunetv2_mamba.report.statistics import Pooled, Resampling
from nnunetv2_mamba.report.strata import strata_table
from nnunetv2_mamba.report.svg import inline_svg
from nnunetv2_mamba.report.tables import Table


@dataclass(frozen=True)
class TargetView:
    """What the page shows of one target: tables, plots as SVG and sentences.

    Attributes:
        name: of the target.
        headlines: the outcome of each model.
        comparison: sentences on whether the models differ.
        overview: models against the metrics that matter most.
        metrics: every metric.
        cells: cases by what is empty.
        lesion_free: what is predicted in cases without a lesion.
        sizes: plot of recall against size.
        per_point: how many lesions are behind each of its points.
        strata: the protocol's groups by size.
        dice: plot of the Dice of each case.
        pairs: models against each other.
        cases: every case.
        froc: plot of the free-response ROC; None without probabilities.
        froc_notes: which cases it lacks, and which of its points mean little.
        views: cases in pictures.
        protocols: plot of a metric under other protocols; None without them.
        sensitivity: the same as a table.
        empty_protocols: under which of them there is nothing to count, in words.
        flips: sentences on whether the order of the models turns round.
    """

    name: str
    headlines: list[Headline]
    comparison: list[str]
    overview: Table
    metrics: Table
    cells: Table
    lesion_free: Table
    sizes: str
    per_point: str
    strata: Table
    dice: str
    pairs: list[PairView]
    cases: Table
    froc: str | None
    froc_notes: str
    views: list[CaseView]
    protocols: str | None
    sensitivity: Table | None
    empty_protocols: str
    flips: list[str]


class TargetViews:
    """Makes the views of all targets.

    Args:
        sources: the models.
        pooled: metrics from summed counts.
        patient_of: what the cases of one patient have in common; None where each case is drawn for itself.
    """

    def __init__(self, sources: Sequence[Source], pooled: Pooled, patient_of: Callable[[str], str] | None) -> None:
        self._sources, self._pooled, self._group_of = sources, pooled, patient_of or str
        self._summary = sources[0].summary
        self._names = [source.name for source in sources]
        self._common = common_cases(sources)
        self.pictures = Pictures()
        # Models with the same cases share their draws.
        drawn: dict[tuple[str, ...], Resampling] = {}
        self._resampling = []
        for source in sources:
            groups = tuple(self._group_of(case) for case in source.case_files)
            self._resampling.append(drawn.setdefault(groups, Resampling(groups)))
        self._results = {
            target: [self._result(place, target) for place in range(len(sources))] for target in sources[0].targets
        }
        pairs = {target: self._pairs(results) for target, results in self._results.items()}
        adjusted = iter(adjust([pair for each in pairs.values() for pair in each]))
        self._adjusted = {target: list(islice(adjusted, len(each))) for target, each in pairs.items()}
        self._family = Family(sum(map(len, pairs.values())), "patient" if patient_of else "case")

    def view(self, index: int, target: str) -> TargetView:
        """Everything about one target; to be called within `svg.page_style`.

        Args:
            index: of the target among the targets.
            target: its name.
        """
        results, pairs = self._results[target], self._adjusted[target]
        metrics, size_unit = self._summary["metrics"], self._sources[0].size_unit
        names = list(dict.fromkeys(case for result in results for case in result.cases.names))
        anchors = {case: f"t{index}-case-{number}" for number, case in enumerate(names)}
        rows = sensitivity_rows(self._sources, target)
        sizes, per_point = self._sizes(index, results, size_unit)
        curves = _curves(results)
        return TargetView(
            name=target,
            headlines=[
                headline(result, self._summary["protocol"], source.trained_on_cases)
                for result, source in zip(results, self._sources, strict=True)
            ],
            comparison=comparison(pairs, self._names, self._family.unit),
            overview=metric_tables.overview(results, metrics),
            metrics=metric_tables.all_metrics(results, metrics),
            cells=metric_tables.empty_cells(results),
            lesion_free=metric_tables.lesion_free(results, size_unit),
            sizes=sizes,
            per_point=per_point,
            strata=strata_table(results, self._summary["protocol"], size_unit),
            dice=self._dice(index, results, anchors),
            pairs=pair_views(pairs, self._names, anchors, metrics, f"t{index}", self._family),
            cases=per_case(results, names, anchors),
            froc=inline_svg(plots.froc(curves), "Free-response ROC", f"t{index}f") if curves else None,
            froc_notes=_froc_notes(results, curves),
            views=self._case_views(results, target),
            protocols=self._protocols(index, rows) if rows else None,
            sensitivity=sensitivity_table(rows, self._names, metrics) if rows else None,
            empty_protocols=empty_protocols(rows, self._names, metrics),
            flips=flips(rows, self._names, metrics) if rows else [],
        )

    def _result(self, place: int, target: str) -> Result:
        source, resampling = self._sources[place], self._resampling[place]
        return Result(
            place=place,
            name=source.name,
            entry=source.summary["targets"][target],
            scores=Scores(source.cases(target), resampling, self._pooled),
            resampling=resampling,
            lesions=source.lesions(target),
        )

    def _sizes(self, index: int, results: Sequence[Result], size_unit: str) -> tuple[str, str]:
        sizes = sizes_of_each_lesion([(result.cases.names, result.lesions) for result in results])
        bounds = bounds_for(sizes)
        bins = {
            result.place: recall_by_size(result.lesions, bounds, result.cases.names, result.resampling)
            for result in results
        }
        figure = plots.recall_by_size(bins, sizes, size_unit)
        numbers = [each.lesions for entry in bins.values() for each in entry]
        words = "There are no lesions."
        if numbers:
            words = f"A point stands for {wording.extent(numbers)} lesion{'' if max(numbers) == 1 else 's'}."
        return inline_svg(figure, "Share of lesions found against their size", f"t{index}s"), words

    def _dice(self, index: int, results: Sequence[Result], anchors: dict[str, str]) -> str:
        values = {result.place: result.cases.metric("DSC") for result in results}
        links = {result.place: [f"#{anchors[case]}" for case in result.cases.names] for result in results}
        titles = {f"#{anchor}": case for case, anchor in anchors.items()}
        figure = plots.values_per_case(values, links, "Dice")
        return inline_svg(figure, "Dice of each case", f"t{index}d", titles)

    def _pairs(self, results: Sequence[Result]) -> list[Pair]:
        pairs = []
        for places in combinations(range(len(results)), 2):
            cases = common_cases([self._sources[place] for place in places])
            if cases:
                groups = [self._group_of(case) for case in cases]
                pairs.append(pair(places, [result.cases for result in results], cases, groups, self._pooled))
        return pairs

    def _protocols(self, index: int, rows: Sequence[Row]) -> str:
        label = self._summary["metrics"]["lesion_f1"]["label"]
        values = [(name, [each["lesion_f1"] for each in models]) for name, models in rows]
        return inline_svg(plots.by_protocol(values, label), f"{label} under each protocol", f"t{index}r")

    def _case_views(self, results: Sequence[Result], target: str) -> list[CaseView]:
        labels = tuple(self._summary["targets"][target]["labels"])
        views = []
        for choice in choose([result.cases for result in results], self._common):
            readable = tuple(model for model in choice.models if self._sources[model].reader is not None)
            if readable:
                choice = replace(choice, models=readable)
                views.append(view(choice, self._sources, Target(target, labels), self.pictures))
        return views


def _curves(results: Sequence[Result]) -> dict[int, plots.Froc]:
    """Free-response curves by place of the model, of those that have one."""
    curves = {}
    for result in results:
        if froc := result.entry.get("froc"):
            point = _floats([result.entry["pooled"][name] for name in ("fp_per_case", "lesion_recall")])
            recall = _floats(froc["lesion_recall"])
            # Earlier files have no counts.
            counts = [_floats(froc.get(name) or [None] * len(recall)) for name in ("right", "found")]
            merged = few_find_many(*counts), bool(few_find_many(result.total("right"), result.total("found")))
            curves[result.place] = plots.Froc(_floats(froc["fp_per_case"]), recall, point, *merged)
    return curves


def _froc_notes(results: Sequence[Result], curves: Mapping[int, plots.Froc]) -> str:
    """Sentences where probabilities were saved of some cases only, and where components have merged."""
    sentences = []
    partial = [
        f"{result.name} has them of {froc['cases']:,} of {wording.count(len(result.cases.names), 'case')}"
        for result in results
        if (froc := result.entry.get("froc")) and froc["cases"] < len(result.cases.names)
    ]
    without = [result.name for result in results if not result.entry.get("froc")]
    words = [*partial, *([f"{wording.listing(without)} without any"] if without else [])]
    if words:
        sentences.append(f"Probabilities were not saved of all cases: {', '.join(words)}.")
    if any(curve.merged.any() or curve.point_merged for curve in curves.values()):
        sentences.append(
            "Hollow points: components have merged until one covers several lesions, fewer than half as many "
            "components as lesions that they find; neither recall nor inventions mean much there."
        )
    return " ".join(sentences)


def _floats(values: Sequence[float | None]) -> np.ndarray:
    return np.array([nan_for_null(value) for value in values])
