"""A lock on the folder of a fold, so that a job that was submitted twice does not train the same fold twice."""

import errno
import json
import os
import socket
import sys
from datetime import datetime
from pathlib import Path
from typing import BinaryIO
from weakref import finalize

if sys.platform != "win32":
    import fcntl

LOCK_FILE = "training.lock"


class TrainingRunningError(RuntimeError):
    """Another process trains this fold; the message says which one and what to do."""


class TrainingLock:
    """A lock that one process holds on a folder until the process ends or is killed.

    The operating system keeps the lock, so that neither a killed process nor the processes that it has started leave a
    lock behind. The file only names the owner. There is no lock on Windows and on file systems without locks.

    Args:
        folder: of a fold; made if it does not exist.

    Raises:
        TrainingRunningError: another process holds the lock.
    """

    def __init__(self, folder: Path) -> None:
        if sys.platform == "win32":
            return
        path = folder / LOCK_FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Not "w", which would erase the name of another owner.
            file = path.open("a+b")
        except OSError:
            return
        try:
            # Unlike those of flock, these locks are not inherited by the workers of the data loaders, which may live
            # longer than this process.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = _owner(file)
            file.close()
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise TrainingRunningError(
                    f"another training of this fold is running, {owner}, and writes into {folder}: wait until it has "
                    "ended and go on with --c, stop it, or train another fold."
                ) from None
            path.unlink(missing_ok=True)
            return
        _name_owner(file)
        finalize(self, _release, file, path, os.getpid())


def _name_owner(file: BinaryIO) -> None:
    owner = {
        "host": socket.gethostname(),
        "process": os.getpid(),
        "since": datetime.now().astimezone().isoformat(timespec="seconds"),
    }
    file.truncate(0)
    file.write(json.dumps(owner).encode() + b"\n")
    file.flush()


def _owner(file: BinaryIO) -> str:
    try:
        file.seek(0)
        owner = json.loads(file.read())
        return f"process {owner['process']} on {owner['host']} since {owner['since']}"
    # The owner has not written its name yet, or another program has written to the file.
    except (OSError, ValueError, KeyError, TypeError):
        return f"the owner of {LOCK_FILE}"


def _release(file: BinaryIO, path: Path, process: int) -> None:
    # A forked process has this finalizer too, but not the lock.
    if os.getpid() == process:
        path.unlink(missing_ok=True)
    file.close()
