"""Finds what there is to measure in a dataset of nnU-Net, and turns the measurements into the report."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunetv2_mamba.evaluation.errors import EvaluationError
from nnunetv2_mamba.evaluation.images import SegmentationReader, remedy_for_values
from nnunetv2_mamba.evaluation.protocol import Connectivity
from nnunetv2_mamba.evaluation.targets import Target, ignore_label_of, targets_of
from nnunetv2_mamba.folders.dataset import Dataset, read_json, reader_for
from nnunetv2_mamba.folders.preprocessed import Preprocessed
from nnunetv2_mamba.inspection.case import InspectedCase, InspectionFiles, Job
from nnunetv2_mamba.inspection.findings import DatasetWarning, findings_of, listed
from nnunetv2_mamba.inspection.planned import configuration_of, network_of, preprocessed_in
from nnunetv2_mamba.inspection.summary import Setting, summarize


@dataclass(frozen=True)
class Inspected:
    """Everything that is known about a dataset before its cases are read.

    Attributes:
        dataset: its folders.
        description: content of dataset.json.
        setting: what the lesions are compared with.
        preprocessed: the preprocessed cases of the configuration; None if there are none.
        folder: folder of the labels, or of the preprocessed cases if there are no labels.
        job: what all cases have in common.
        cases: their files.
    """

    dataset: Dataset
    description: Mapping[str, Any]
    setting: Setting
    preprocessed: Preprocessed | None
    folder: Path
    job: Job
    cases: list[InspectionFiles]

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        *,
        plans_name: str | None = None,
        configuration: str | None = None,
        trainer: str | None = None,
        min_voxels: int = 10,
        connectivity: Connectivity = "corners",
        values: Mapping[int, int] | None = None,
    ) -> "Inspected":
        """Read everything but the cases.

        Args:
            dataset: its folders.
            plans_name: None for nnUNetPlans, if they exist.
            configuration: None for 3d_fullres, or for the first one if there is no 3d_fullres.
            trainer: trainer of the network that the lesions are compared with; None for that of S3-Mamba.
            min_voxels: lesions with fewer voxels are counted as tiny.
            connectivity: which voxels are neighbours.
            values: new label of each value that is replaced in all files.

        Raises:
            EvaluationError: a file is missing or cannot be read.
        """
        description, plans = dataset.description(), dataset.plans(plans_name)
        if plans is None and (configuration or trainer):
            raise EvaluationError(
                f"{dataset.name} has no plans yet, and -c and -tr need them: run nnUNetv2_plan_and_preprocess, or "
                "leave out -c and -tr."
            )
        setting, preprocessed = Setting(min_voxels), None
        if plans is not None and dataset.preprocessed is not None:
            plan, planned = configuration_of(plans, configuration)
            setting = Setting(min_voxels, plan, network_of(trainer, planned))
            preprocessed = preprocessed_in(dataset.preprocessed, plans, planned)
        folder, cases, reader = _cases(dataset, description, plans=plans, preprocessed=preprocessed)
        only_preprocessed = reader is preprocessed
        job = Job(
            reader=reader,
            targets=tuple(_targets(description)),
            ignore_label=ignore_label_of(description),
            connectivity=connectivity,
            # Preprocessed segmentations are transposed already.
            transpose=(0, 1, 2) if plans is None or only_preprocessed else tuple(plans["transpose_forward"]),
            slicewise=setting.plan is not None and len(setting.plan.spacing) == 2,
            grid=None if setting.plan is None else setting.plan.spacing,
            preprocessed=None if only_preprocessed else preprocessed,
            values=values or {},
        )
        setting = dataclasses.replace(setting, only_preprocessed=only_preprocessed)
        return cls(
            dataset=dataset,
            description=description,
            setting=setting,
            preprocessed=preprocessed,
            folder=folder,
            job=job,
            cases=cases,
        )

    def report(self, cases: Sequence[InspectedCase]) -> dict[str, Any]:
        """Content of ``lesion_inspection.json``, without its format, its author and the name of the dataset.

        Args:
            cases: all measured cases.

        Raises:
            EvaluationError: a file has values that dataset.json does not name, or a case is an image where others are
                volumes.
        """
        _require_named_values(cases, self.description)
        if len({case.dimensions for case in cases}) > 1:
            raise EvaluationError("some cases are images and some are volumes: make two datasets of them.")
        summary = summarize(cases, self.job, self.setting)
        splits, written = self.dataset.splits([case.case for case in cases])
        odd = [DatasetWarning("label_file", None, warning) for case in cases for warning in case.warnings]
        findings = [*findings_of(summary, splits, written), *self._findings(), *odd]
        return {
            "label_folder": str(self.folder),
            **summary,
            "not_known": list(self._not_known()),
            "findings": [dataclasses.asdict(finding) for finding in findings],
        }

    def _findings(self) -> Iterator[DatasetWarning]:
        """Warnings about files that do not fit together."""
        missing = [files.case for files in self.cases if files.preprocessed is None]
        if self.preprocessed is not None and missing and not self.setting.only_preprocessed:
            text = (
                f"{len(missing)} of {len(self.cases)} cases are not preprocessed ({listed(missing)}), and nnU-Net "
                "trains only with those that are: run nnUNetv2_preprocess again."
            )
            yield DatasetWarning("not_preprocessed", None, text)
        if self.dataset.raw is not None and self.dataset.preprocessed is not None:
            copy = self.dataset.preprocessed / "dataset.json"
            if copy.is_file() and read_json(copy).get("labels") != self.description["labels"]:
                text = (
                    "dataset.json names other labels in nnUNet_raw than in nnUNet_preprocessed, with which nnU-Net "
                    "trains: run nnUNetv2_plan_and_preprocess again."
                )
                yield DatasetWarning("labels_changed", None, text)

    def _not_known(self) -> Iterator[str]:
        """What the files do not tell."""
        plan = self.setting.plan
        if self.setting.only_preprocessed:
            yield "which lesions vanished in resampling and which touch the border, without the labels themselves"
        elif plan is not None and self.preprocessed is None:
            yield (
                f"which lesions vanish in resampling, and how large the others are exactly, until {plan.configuration} "
                "is preprocessed"
            )


def _cases(
    dataset: Dataset,
    description: Mapping[str, Any],
    *,
    plans: Mapping[str, Any] | None,
    preprocessed: Preprocessed | None,
) -> tuple[Path, list[InspectionFiles], SegmentationReader]:
    """Folder, files and reader of the labels, or of the preprocessed cases if there are no labels."""
    labels = dataset.label_files(description)
    if labels is not None:
        known = {} if preprocessed is None else preprocessed.files()
        cases = [InspectionFiles(case, path, known.get(case)) for case, path in labels[1].items()]
        return labels[0], cases, reader_for(description, plans, cases[0].labels)
    if preprocessed is not None:
        return preprocessed.folder, [InspectionFiles(*case) for case in preprocessed.files().items()], preprocessed
    raise EvaluationError(
        f"{dataset.name} has labels neither in nnUNet_raw nor in nnUNet_preprocessed (gt_segmentations, or cases of "
        "the configuration): check these variables."
    )


def _targets(description: Mapping[str, Any]) -> list[Target]:
    try:
        return targets_of(description)
    except ValueError as error:
        raise EvaluationError(str(error)) from error


def _require_named_values(cases: Sequence[InspectedCase], description: Mapping[str, Any]) -> None:
    named = {0}
    for value in description["labels"].values():
        named |= {int(label) for label in (value if isinstance(value, (list, tuple)) else [value])}
    strange = {case.case: sorted(case.voxels.keys() - named) for case in cases}
    wrong = {case: values for case, values in strange.items() if values}
    if wrong:
        values = sorted({value for found in wrong.values() for value in found})
        remedy = remedy_for_values(values, named)
        raise EvaluationError(
            f"dataset.json names the values {', '.join(map(str, sorted(named)))}, but {listed(wrong)} "
            f"{'has' if len(wrong) == 1 else 'have'} {listed([f'{value:g}' for value in values])} too: {remedy}."
        )
