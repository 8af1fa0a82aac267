"""Files that are whole or not there, whenever the process is killed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

COST_FILE = "cost.json"
"""What the training of a fold has cost, beside its checkpoints."""


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Give a name in the same folder to write under, which becomes `path` once everything is written.

    Several processes may write the same file; the last one wins. A name left by a killed one starts with a dot.

    Args:
        path: what the file is to be called.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield aside
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
