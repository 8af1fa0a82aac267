"""Result of an evaluation, and its two files."""

import csv
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from nnunetv2_mamba.evaluation.earlier import status_of_format_1, summary_of_format_1
from nnunetv2_mamba.evaluation.errors import EvaluationError
from nnunetv2_mamba.evaluation.parts import Part
from nnunetv2_mamba.files import written_aside

SUMMARY_FILE = "lesion_summary.json"
LESIONS_FILE = "lesions.csv"
FORMAT = 2
KEYS = ("protocol", "protocol_hash", "unit", "dimensions", "metrics", "targets", "cases", "rows")
COLUMNS = ("case", "fold", "target", *(entry.name for entry in fields(Part)))


@dataclass
class Evaluation:
    """Result of an evaluation.

    Attributes:
        summary: content of ``lesion_summary.json``.
        lesions: case, fold, target and part of every row of ``lesions.csv``.
    """

    summary: dict[str, Any]
    lesions: list[tuple[str, int | None, str, Part]]

    @property
    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows of ``lesions.csv`` as mappings; a value that is not defined is an empty text."""
        for case, fold, target, part in self.lesions:
            values = (getattr(part, entry.name) for entry in fields(Part))
            yield dict(zip(COLUMNS, map(_text, (case, fold, target, *values)), strict=True))

    def write(self, folder: Path) -> None:
        """Write ``lesion_summary.json`` and ``lesions.csv``, each completely or not at all.

        Raises:
            OSError: the folder cannot be written to.
        """
        with written_aside(folder / LESIONS_FILE) as aside, aside.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(self.rows)
        with written_aside(folder / SUMMARY_FILE) as aside:
            aside.write_text(json.dumps(self.summary, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_evaluation(folder: Path) -> Evaluation:
    """Read what `Evaluation.write` has written, by this version or an earlier one.

    Raises:
        EvaluationError: the files are not complete, or have another format.
        OSError: a file cannot be read.
    """
    path = folder / SUMMARY_FILE
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        earlier = summary["format"] == 1
        if summary["format"] not in (1, FORMAT) or any(key not in summary for key in KEYS):
            raise ValueError(f"it has the format {summary['format']}, or lacks an entry")
        if earlier:
            summary = summary_of_format_1(summary)
        with (folder / LESIONS_FILE).open(newline="", encoding="utf-8") as file:
            lesions = [_parsed(row, earlier) for row in csv.DictReader(file)]
        if len(lesions) != summary["rows"]:
            raise ValueError(f"{LESIONS_FILE} has {len(lesions)} rows instead of {summary['rows']}")
    except (KeyError, TypeError, ValueError) as error:
        raise EvaluationError(f"{path} cannot be used, evaluate again: {error}.") from error
    return Evaluation(summary, lesions)


def _text(value: Any) -> str:
    """A field of ``lesions.csv``."""
    if value is None:
        return ""
    if isinstance(value, tuple):
        return " ".join(map(_text, value))
    if isinstance(value, float):
        return f"{value:.10g}" if math.isfinite(value) else ""
    return str(value)


def _parsed(row: Mapping[str, str], earlier: bool) -> tuple[str, int | None, str, Part]:
    number = {name: float(row[name]) if row[name] else math.nan for name in ("size", "dice", "iou", "distance", "hd95")}
    part = Part(
        kind="lesion" if row["kind"] == "lesion" else "component",
        id=int(row["id"]),
        status=status_of_format_1(row["status"]) if earlier else row["status"],
        voxels=int(row["voxels"]),
        centre=tuple(float(index) for index in row["centre"].split()),
        matched=tuple(int(match) for match in row["matched"].split()),
        **number,
    )
    return row["case"], int(row["fold"]) if row["fold"] else None, row["target"], part
