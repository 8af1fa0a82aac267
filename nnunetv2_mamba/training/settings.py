"""The environment variables that change a training; read here and nowhere else."""

import os
from dataclasses import dataclass

EPOCHS_VARIABLE = "NNUNETV2_MAMBA_EPOCHS"
ITERATIONS_VARIABLE = "NNUNETV2_MAMBA_ITERATIONS"
VAL_ITERATIONS_VARIABLE = "NNUNETV2_MAMBA_VAL_ITERATIONS"
AUTOCAST_VARIABLE = "NNUNETV2_MAMBA_AUTOCAST"
CHECKPOINTED_STAGES_VARIABLE = "NNUNETV2_MAMBA_CHECKPOINTED_STAGES"
AUTOCAST_DTYPES = ("float16", "bfloat16")


@dataclass(frozen=True)
class QuickRun:
    """Length of a training; None keeps the trainer's own number.

    Attributes:
        epochs: number of epochs.
        iterations: training steps per epoch.
        val_iterations: validation steps per epoch.
    """

    epochs: int | None = None
    iterations: int | None = None
    val_iterations: int | None = None

    @classmethod
    def from_environment(cls) -> "QuickRun":
        """The present values of the variables.

        Raises:
            ValueError: a variable is set, but not to a positive integer.
        """
        return cls(*map(_positive_integer, (EPOCHS_VARIABLE, ITERATIONS_VARIABLE, VAL_ITERATIONS_VARIABLE)))


def autocast_from_environment() -> str | None:
    """Name of the dtype for autocast; None leaves the choice to nnU-Net.

    Raises:
        ValueError: the variable is not one of `AUTOCAST_DTYPES`.
    """
    text = os.environ.get(AUTOCAST_VARIABLE)
    if text is not None and text not in AUTOCAST_DTYPES:
        raise ValueError(f"{AUTOCAST_VARIABLE}={text} is neither {' nor '.join(AUTOCAST_DTYPES)}: set one or unset it.")
    return text


def checkpointed_stages_from_environment() -> list[int] | None:
    """Stages with activation checkpointing, 0 the finest; None keeps those of the plan.

    Raises:
        ValueError: the variable is not a list of numbers.
    """
    text = os.environ.get(CHECKPOINTED_STAGES_VARIABLE)
    if text is None:
        return None
    stages = [stage.strip() for stage in text.split(",")]
    if not all(stage.isascii() and stage.isdigit() for stage in stages):
        raise ValueError(f"{CHECKPOINTED_STAGES_VARIABLE}={text} is not a list of stages: give one such as 0 or 0,1.")
    return [int(stage) for stage in stages]


def _positive_integer(variable: str) -> int | None:
    text = os.environ.get(variable)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise ValueError(f"{variable}={text} is not a positive integer: give one, or unset it for the full training.")
    return int(text)
