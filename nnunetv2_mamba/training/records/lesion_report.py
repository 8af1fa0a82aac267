"""The lesion-wise report beside nnU-Net's own validation, for any of its trainers."""

import os
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from nnunetv2.configuration import default_num_processes
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

if TYPE_CHECKING:
    from nnunetv2_mamba.evaluation.folder import CaseFiles
    from nnunetv2_mamba.evaluation.protocol import Protocol
    from nnunetv2_mamba.evaluation.results import Evaluation

REPORT_FILES = ("lesion_summary.json", "lesions.csv")


class LesionReportMixin(nnUNetTrainer):
    """Reports the lesions that validation found: ``class MyTrainer(LesionReportMixin, nnUNetTrainer)``.

    After nnU-Net's validation, it writes ``lesion_summary.json`` and ``lesions.csv`` beside ``summary.json``, which is
    not changed. An error in the report is logged and does not change how the training ends.

    Attributes:
        lesion_protocol: rules of the evaluation, or the name of a preset or of a JSON file with rules.
    """

    lesion_protocol: ClassVar["Protocol | str"] = "default"

    local_rank: int
    output_folder: str

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """Stock validation, then the report; the other ranks of a data-parallel training do not wait for it."""
        super().perform_actual_validation(save_probabilities)
        if self.local_rank == 0:
            self._report_lesions(Path(self.output_folder, "validation"))

    def _report_lesions(self, folder: Path) -> None:
        try:
            # Imported here, so that a broken installation of the libraries prevents only the report.
            from nnunetv2_mamba.evaluation.text import lines_of

            # If the process is killed, old files must not look like the report of this validation.
            _remove_report(folder)
            self.print_to_log_file("Comparing lesions with the reference, case by case")
            evaluation = self._evaluate_lesions(folder)
            evaluation.write(folder)
            for line in (*lines_of(evaluation.summary), f"{' and '.join(REPORT_FILES)} are in {folder}"):
                self.print_to_log_file(line)
        # The training is complete: an error here must not make it end as failed.
        except Exception:
            with suppress(OSError):
                _remove_report(folder)
            self.print_to_log_file(
                f"{traceback.format_exc()}\nThe lesion report was not written for the reason above; model and "
                f"validation are complete. Write it later with: nnUNetv2_mamba evaluate {self.output_folder_base}"
            )

    def _evaluate_lesions(self, folder: Path) -> "Evaluation":
        from nnunetv2_mamba.evaluation.folder import Settings, evaluate_files
        from nnunetv2_mamba.evaluation.presets import protocol_from

        references = Path(self.preprocessed_dataset_folder_base, "gt_segmentations")
        cases = self._validation_files(folder, references)
        protocol = self.lesion_protocol
        settings = Settings.of(
            self.dataset_json,
            self.plans_manager.image_reader_writer_class(),
            protocol=protocol_from(protocol) if isinstance(protocol, str) else protocol,
        )
        about = {
            "folds": [self.fold],
            "reference_folder": str(references.absolute()),
            "prediction_folder": str(folder.absolute()),
            "image_folder": _images_of(self.plans_manager.dataset_name),
            "trained_on_cases": self.fold == "all",
        }
        return evaluate_files(cases, settings, allow_missing=True, processes=default_num_processes, about=about)

    def _validation_files(self, folder: Path, references: Path) -> "list[CaseFiles]":
        from nnunetv2_mamba.evaluation.folder import CaseFiles

        ending = self.dataset_json["file_ending"]
        fold = self.fold if isinstance(self.fold, int) else None
        # Under DDP each rank predicts a share of the cases; the report needs all of them.
        return [
            CaseFiles.within(case, references, folder, ending=ending, fold=fold) for case in sorted(self.do_split()[1])
        ]


def _images_of(dataset: str) -> str | None:
    # Training needs no raw data, so the variable or the folder may be missing.
    raw = os.environ.get("nnUNet_raw")
    images = Path(raw, dataset, "imagesTr") if raw else None
    return str(images) if images is not None and images.is_dir() else None


def _remove_report(folder: Path) -> None:
    for name in REPORT_FILES:
        (folder / name).unlink(missing_ok=True)
