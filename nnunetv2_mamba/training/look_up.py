"""Keeps one class for each trainer, although nnU-Net imports its file again at every look-up."""

from typing import Any, TypeVar

PACKAGE = "nnunetv2_mamba.trainers"

AnyTrainer = TypeVar("AnyTrainer")

_trainers: dict[str, Any] = {}


def same_at_every_look_up(trainer: type[AnyTrainer]) -> type[AnyTrainer]:
    """Class decorator for the files in ``trainers/``: every import of such a file gives the same, picklable class.

    nnU-Net imports the file as a new module, and removes every module of that folder after the look-up.

    Args:
        trainer: the class that the file is named after.
    """
    known = _trainers.setdefault(trainer.__name__, trainer)
    known.__module__ = f"{PACKAGE}.{trainer.__name__}"
    return known
