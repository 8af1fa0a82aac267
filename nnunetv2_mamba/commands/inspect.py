"""``nnUNetv2_mamba inspect``: the lesions of a dataset, before training."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast, get_args

from nnunetv2_mamba import __version__
from nnunetv2_mamba.commands.options import PROGRAM, option
from nnunetv2_mamba.evaluation.protocol import Connectivity

REPORT = "lesion_inspection.json"
PICTURE = "lesion_inspection.png"
FORMAT = 1


@dataclass
class Inspect:
    """Count and measure the lesions of a dataset, and say which of them a network can hardly see.

    Attributes:
        dataset: id or name.
        configuration: of the plans; None for 3d_fullres, or for the first one if there is no 3d_fullres.
        plans: name of the plans; None for nnUNetPlans, if they exist.
        trainer: trainer of the network that the lesions are compared with; None for that of S3-Mamba.
        min_voxels: lesions with fewer voxels are counted as tiny.
        connectivity: which voxels are neighbours.
        values: replacements of labels, such as 255=1.
        out: folder for the results.
        processes: number of processes.
    """

    dataset: str = field(metadata=option("dataset id or name", "-d"))
    configuration: str | None = field(
        default=None, metadata=option("configuration of the plans; 3d_fullres unless given, or else the first", "-c")
    )
    plans: str | None = field(default=None, metadata=option("plans; nnUNetPlans unless given, if they exist", "-p"))
    trainer: str | None = field(
        default=None,
        metadata=option(
            "trainer whose network the lesions are compared with; nnUNetTrainerS3Mamba unless given", "-tr"
        ),
    )
    min_voxels: int = field(default=10, metadata=option("count lesions with fewer voxels as tiny", metavar="N"))
    connectivity: str = field(
        default="corners", metadata=option("which voxels are neighbours", choices=get_args(Connectivity))
    )
    values: list[str] | None = field(
        default=None, metadata=option("replace labels in all files, e.g. 255=1", nargs="+", metavar="OLD=NEW")
    )
    out: Path | None = field(
        default=None,
        metadata=option(
            "folder for the results; that of the preprocessed dataset unless given, or else this one", "-o"
        ),
    )
    processes: int | None = field(
        default=None, metadata=option("number of processes; default: number of cores, at most 8", "-np")
    )

    def run(self) -> int:
        """Inspect, write both files and print the text.

        Raises:
            SystemExit: something cannot be read, with one sentence that says what.
        """
        from nnunetv2_mamba.evaluation.errors import EvaluationError
        from nnunetv2_mamba.files import written_aside
        from nnunetv2_mamba.inspection.plot import plot
        from nnunetv2_mamba.inspection.text import render

        try:
            report, folder = self._inspect()
            with written_aside(folder / REPORT) as aside:
                aside.write_text(json.dumps(report, allow_nan=False) + "\n", encoding="utf-8")
            with written_aside(folder / PICTURE) as aside:
                plot(report, aside)
        except (EvaluationError, OSError, ValueError) as error:
            raise SystemExit(f"{PROGRAM} inspect: {error}") from error
        print(f"{render(report)}\n\n{folder / REPORT}\n{folder / PICTURE}")
        return 0

    def _inspect(self) -> tuple[dict[str, Any], Path]:
        from nnunetv2_mamba.evaluation.errors import EvaluationError
        from nnunetv2_mamba.evaluation.label_maps import parse_values
        from nnunetv2_mamba.evaluation.parallel import default_processes
        from nnunetv2_mamba.folders.dataset import Dataset
        from nnunetv2_mamba.inspection.inspected import Inspected
        from nnunetv2_mamba.inspection.survey import survey

        if self.min_voxels < 1:
            raise EvaluationError(f"--min-voxels is {self.min_voxels}: give 1 or more.")
        dataset = Dataset.find(self.dataset)
        folder = self._folder(dataset.preprocessed)
        inspected = Inspected.of(
            dataset,
            plans_name=self.plans,
            configuration=self.configuration,
            trainer=self.trainer,
            min_voxels=self.min_voxels,
            connectivity=cast(Connectivity, self.connectivity),
            values=parse_values(self.values),
        )
        processes = self.processes or default_processes()
        cases = survey(inspected.job, inspected.cases, processes, progress=True)
        report = {"format": FORMAT, "made_by": f"nnunetv2_mamba {__version__}", "dataset": dataset.name}
        return report | inspected.report(cases), folder

    def _folder(self, preprocessed: Path | None) -> Path:
        """Where the results go."""
        from nnunetv2_mamba.evaluation.errors import EvaluationError

        folder = self.out or preprocessed or Path()
        if any(next(folder.glob(f"*{ending}"), None) for ending in (".b2nd", ".npz", ".pkl")):
            raise EvaluationError(
                f"{folder} holds preprocessed cases, and nnU-Net allows no other files there: choose another -o."
            )
        folder.mkdir(parents=True, exist_ok=True)
        return folder
