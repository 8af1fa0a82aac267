"""Files that are whole or not there, whenever the process is killed and however many processes write them."""

import hashlib
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import time

COST_FILE = "cost.json"
"""What the training of a fold has cost, beside its checkpoints."""

ABANDONED_AFTER = 24 * 3600
"""Age in seconds from which a file written aside belongs to no living process: no file takes a day to write."""

# Host and process: a folder may be shared by many machines. The name of the host stays private, files get around.
_HOST = hashlib.blake2b(socket.gethostname().encode(), digest_size=4).hexdigest()
_ASIDE = re.compile(r"\..+\.(?P<host>[0-9a-f]{8})-(?P<process>\d+)\.partial")
# Earlier versions wrote checkpoints under these names.
_WITHOUT_OWNER = ("checkpoint_stock.partial", "checkpoint_whole.partial")


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Give a name in the same folder to write under, which becomes `path` once everything is written.

    Several processes may write the same file, also from several machines; the last one wins.

    Args:
        path: what the file is to be called.
    """
    aside = path.with_name(f".{path.name}.{_HOST}-{os.getpid()}.partial")
    try:
        yield aside
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def remove_abandoned(folder: Path) -> None:
    """Remove what processes that were killed have left aside in a folder.

    A file counts as abandoned when its process ran on this machine and does not run any more, or when it is a day old.

    Args:
        folder: that `written_aside` writes to.
    """
    # Another process may remove the same file at the same time, and the folder may be read-only.
    with suppress(OSError):
        for file in folder.glob("*.partial"):
            if _is_abandoned(file):
                file.unlink(missing_ok=True)


def _is_abandoned(file: Path) -> bool:
    owner = _ASIDE.fullmatch(file.name)
    if owner is None and file.name not in _WITHOUT_OWNER:
        return False
    if owner is not None and owner["host"] == _HOST and not _runs(int(owner["process"])):
        return True
    return time() - file.stat().st_mtime > ABANDONED_AFTER


def _runs(process: int) -> bool:
    """Whether a process of this machine runs."""
    # On Windows this question would end the process.
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
