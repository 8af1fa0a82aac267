"""``nnUNetv2_mamba evaluate``: which lesions were found, in a folder of predictions or a trained model's folds."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast, get_args

from nnunetv2_mamba.commands.options import PROGRAM, option
from nnunetv2_mamba.evaluation.errors import EvaluationError, GeometryError
from nnunetv2_mamba.evaluation.folder import Geometry, Settings, evaluate_files
from nnunetv2_mamba.evaluation.label_maps import parse_values
from nnunetv2_mamba.evaluation.parallel import default_processes
from nnunetv2_mamba.evaluation.presets import PRESETS, protocol_from, variations
from nnunetv2_mamba.evaluation.protocol import Protocol
from nnunetv2_mamba.evaluation.results import LESIONS_FILE, SUMMARY_FILE, Evaluation
from nnunetv2_mamba.evaluation.text import lines_of, sensitivity_lines
from nnunetv2_mamba.folders import sources
from nnunetv2_mamba.folders.operating_points import read_operating_points


@dataclass
class Evaluate:
    """Count true positive, missed and false positive lesions; writes lesion_summary.json and lesions.csv.

    Give either the folder of a trained model, whose validated folds are pooled, or -ref and -pred.
    """

    model: Path | None = field(
        default=None, metadata=option("folder of a trained model (has fold_0, ...)", "MODEL_DIR", nargs="?")
    )
    ref: Path | None = field(default=None, metadata=option("folder of the reference segmentations", "-ref"))
    pred: Path | None = field(default=None, metadata=option("folder of the predictions", "-pred"))
    djfile: Path | None = field(
        default=None, metadata=option("dataset.json; that in the folder of predictions unless given", "-djfile")
    )
    pfile: Path | None = field(
        default=None, metadata=option("plans.json; that in the folder of predictions unless given", "-pfile")
    )
    folds: list[str] | None = field(
        default=None, metadata=option("folds of a trained model; all that are validated unless given", "-f", nargs="+")
    )
    out: Path | None = field(
        default=None, metadata=option("folder for the results; that of the predictions unless given", "-o")
    )
    images: Path | None = field(default=None, metadata=option("folder of the images, for pictures in a report"))
    protocol: str = field(
        default="default", metadata=option(f"rules: a JSON file, or one of {', '.join(PRESETS)}", metavar="NAME")
    )
    set: list[str] | None = field(
        default=None,
        metadata=option("change rules, e.g. connectivity=faces min_lesion_voxels=3", nargs="+", metavar="RULE=VALUE"),
    )
    sensitivity: bool = field(
        default=False, metadata=option("evaluate under other protocols too, and show how far the results move")
    )
    geometry: str = field(
        default="world",
        metadata=option(
            "voxels: compare voxel by voxel and ignore the headers; world: do so with a warning if the headers differ",
            choices=get_args(Geometry),
        ),
    )
    values: list[str] | None = field(
        default=None, metadata=option("replace labels in all files, e.g. 255=1", nargs="+", metavar="OLD=NEW")
    )
    operating_point: Path | None = field(
        default=None,
        metadata=option("segment again from the probabilities with this operating_point.json, or that of this folder"),
    )
    allow_missing: bool = field(default=False, metadata=option("count a missing prediction as predicted empty"))
    processes: int | None = field(
        default=None, metadata=option("number of processes; default: number of cores, at most 8", "-np")
    )

    def run(self) -> int:
        """Evaluate, write both files and print the summary."""
        try:
            source = self._source()
            # The results of the predictions as they are stay where they are.
            own = source.folder if self.operating_point is None else source.folder / "at_operating_point"
            folder = _writable(self.out or own)
            evaluation = evaluate(
                source,
                self._protocol(),
                self.sensitivity,
                allow_missing=self.allow_missing,
                processes=self.processes,
                progress=True,
                geometry=cast(Geometry, self.geometry),
                values=parse_values(self.values),
                operating_point=self.operating_point,
            )
            print("\n".join(lines_of(evaluation.summary)))
            if self.operating_point is not None:
                print(f"segmented by {self.operating_point}; cases that it was fitted to say too much in its favour")
            if self.sensitivity:
                print("\nHow far this depends on the protocol\n" + "\n".join(sensitivity_lines(evaluation.summary)))
            evaluation.write(folder)
        except (EvaluationError, GeometryError, OSError, ValueError) as error:
            raise SystemExit(f"{PROGRAM} evaluate: {error}") from error
        print(f"\n{folder / SUMMARY_FILE}\n{folder / LESIONS_FILE}")
        return 0

    def _source(self) -> sources.EvaluationInput:
        if self.images is not None and not self.images.is_dir():
            raise EvaluationError(f"--images {self.images} is not a folder: name one, or leave it out.")
        if self.model is not None and self.pred is None:
            if self.djfile or self.pfile:
                raise EvaluationError("a trained model has dataset.json and plans.json: leave out -djfile and -pfile.")
            return sources.trained_model(self.model, folds=self.folds, reference=self.ref, images=self.images)
        if self.model is None and self.pred is not None and self.ref is not None:
            if self.folds:
                raise EvaluationError(f"-f {' '.join(self.folds)} is for a trained model: leave it out.")
            return sources.predictions(
                self.pred, self.ref, dataset_file=self.djfile, plans_file=self.pfile, images=self.images
            )
        raise EvaluationError("give the folder of a trained model, or -ref and -pred; --help explains.")

    def _protocol(self) -> Protocol:
        protocol = protocol_from(self.protocol)
        if not self.set:
            return protocol
        changes = dict(_rule(text) for text in self.set)
        return Protocol.from_dict(protocol.as_dict() | {"name": f"{protocol.name}, {', '.join(self.set)}"} | changes)


def evaluate(
    source: sources.EvaluationInput,
    protocol: Protocol,
    sensitivity: bool = False,
    *,
    allow_missing: bool = False,
    processes: int | None = None,
    progress: bool = False,
    geometry: Geometry = "world",
    values: Mapping[int, int] | None = None,
    operating_point: Path | None = None,
) -> Evaluation:
    """Evaluate all cases of a trained model or a folder of predictions.

    Args:
        source: the cases.
        protocol: the rules.
        sensitivity: whether to count under other protocols too.
        allow_missing: whether a missing prediction counts as predicted empty.
        processes: number of processes; None for the number of cores, at most 8.
        progress: whether to show a progress bar.
        geometry: ``voxels`` if voxels of the same index belong together, whatever the headers say.
        values: new label of each value that is replaced in all files.
        operating_point: file of operating points, or the folder that has it; None for the predictions as they are.

    Raises:
        EvaluationError: there is no case, a prediction is missing, or a process was killed.
        GeometryError: a prediction does not have the shape of its reference.
        OSError: a file cannot be read.
    """
    settings = Settings.of(
        source.dataset,
        source.reader,
        operating_points=operating_point and read_operating_points(operating_point, source.dataset),
        protocol=protocol,
        sensitivity=variations(protocol) if sensitivity else (),
        geometry=geometry,
        values=values or {},
    )
    if processes is not None and processes < 1:
        raise EvaluationError(f"-np {processes} is not a number of processes: give 1 or more.")
    return evaluate_files(
        source.cases,
        settings,
        allow_missing=allow_missing,
        processes=processes or default_processes(),
        progress=progress,
        about=source.about,
    )


def _writable(folder: Path) -> Path:
    """The folder, made if it does not exist; checked before the evaluation, which can take minutes."""
    if folder.exists() and not folder.is_dir():
        raise EvaluationError(f"{folder} is a file: name a folder with -o.")
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise EvaluationError(f"{folder} cannot be written to: name another folder with -o.")
    return folder


def _rule(text: str) -> tuple[str, object]:
    """Field and value of ``field=value``, where the value is JSON or a plain word.

    Raises:
        ValueError: there is no ``=``.
    """
    name, found, value = text.partition("=")
    if not found:
        raise ValueError(f"--set {text}: write it as RULE=VALUE.")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
