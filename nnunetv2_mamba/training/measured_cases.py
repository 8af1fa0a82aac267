"""What is measured once in each preprocessed training case, kept beside the cases, and shared by the processes."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from torch import distributed
from tqdm import tqdm

from nnunetv2_mamba.files import written_aside
from nnunetv2_mamba.folders.segmentations import segmentation_file

FOLDER = "lesion_sizes"
"""Below the preprocessed cases: nnU-Net allows no other file beside them, and deletes both together."""

Measure = TypeVar("Measure")


class MeasuredCases(Generic[Measure]):
    """A measure of preprocessed segmentations, from a cache where the file has not changed since.

    Args:
        folder: of the preprocessed cases.
        cases: their names.
        name: of the cache's file; its first word, before an underscore, names the measure in the file.
        measure: reads a segmentation; what it returns can be written as JSON.
        parse: makes a measure from what was read from JSON.

    Raises:
        FileNotFoundError: the segmentation of a case is missing; with one sentence that says what to do.
    """

    def __init__(
        self,
        folder: Path,
        cases: Sequence[str],
        *,
        name: str,
        measure: Callable[[Path], Measure],
        parse: Callable[[Any], Measure],
    ) -> None:
        self.files = {case: segmentation_file(folder, case) for case in cases}
        self._cache = folder / FOLDER / f"{name}.json"
        self._name, self._measure, self._parse = name.partition("_")[0], measure, parse

    def known(self) -> dict[str, Measure]:
        """Of the cases whose file has not changed since it was measured for the cache."""
        cached = _read(self._cache)
        unchanged = [case for case, file in self.files.items() if cached.get(case, {}).get("stamp") == _stamp(file)]
        return {case: self._parse(cached[case][self._name]) for case in unchanged}

    def measure(self, cases: Sequence[str]) -> Iterator[tuple[str, Measure]]:
        """Read the segmentations of cases one by one."""
        for case in cases:
            yield case, self._measure(self.files[case])

    def keep(self, measures: Mapping[str, Measure]) -> None:
        """Write measures into the cache; those of other cases stay in it.

        Raises:
            OSError: the folder cannot be written to.
        """
        fresh = {case: {"stamp": _stamp(self.files[case]), self._name: found} for case, found in measures.items()}
        content = _read(self._cache) | fresh
        self._cache.parent.mkdir(exist_ok=True)
        with written_aside(self._cache) as aside:
            aside.write_text(json.dumps(content))

    def of_all(self, *, ddp: bool, say: Callable[[str], None]) -> dict[str, Measure]:
        """Of all cases; those that are not known are measured, each process a share of them, and kept.

        Args:
            ddp: whether there are several processes.
            say: writes a line into the training's log.
        """
        # All processes use what the first one has read, because the cache may change before the last one reads it.
        known = gathered(self.known(), ddp)[0][0]
        missing = sorted(self.files.keys() - known.keys())
        rank = distributed.get_rank() if ddp else 0
        share = missing[rank :: distributed.get_world_size()] if ddp else missing
        measured: dict[str, Measure] = {}
        try:
            hidden = not share or rank != 0
            measured.update(tqdm(self.measure(share), "measuring lesions", len(share), disable=hidden, leave=False))
        finally:
            self._try_to_keep(measured, say)
        parts, _ = gathered(measured, ddp)
        everything = {case: found for part in parts for case, found in part.items()}
        # Processes may have overwritten the entries of each other.
        if len(parts) > 1 and rank == 0:
            self._try_to_keep(everything, say)
        return known | everything

    def _try_to_keep(self, measures: Mapping[str, Measure], say: Callable[[str], None]) -> None:
        if not measures:
            return
        try:
            self.keep(measures)
        except OSError as error:
            say(f"the cache was not written, so lesions are measured again next time ({error})")


def gathered(value: Any, ddp: bool) -> tuple[list[Any], int]:
    """The value in each process, and the rank of this process."""
    if not ddp:
        return [value], 0
    parts: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(parts, value)
    return parts, distributed.get_rank()


def _stamp(file: Path) -> list[int]:
    """Size of a file in bytes and time of its last change in ns, which show whether the file was written again."""
    status = file.stat()
    return [status.st_size, status.st_mtime_ns]


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    # The cache is missing, not readable, or damaged by a full disk. It only saves time, so it is made again.
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
