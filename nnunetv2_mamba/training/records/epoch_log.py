"""Additional curves in nnU-Net's logger."""

from math import nan

from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer


def log_epoch_value(trainer: nnUNetTrainer, key: str, value: float, before: float = nan) -> None:
    """Log a value of the current epoch, once per epoch and curve.

    Args:
        trainer: owner of the logger.
        key: name of the curve.
        value: a number.
        before: value for earlier epochs, if training goes on from a checkpoint without this curve. nnU-Net needs one
            value per epoch in every curve.
    """
    curve = trainer.logger.local_logger.my_fantastic_logging.setdefault(key, [])
    curve.extend([before] * (trainer.current_epoch - len(curve)))
    trainer.logger.log(key, value, trainer.current_epoch)


def forget_current_epoch(trainer: nnUNetTrainer) -> None:
    """Remove what the unfinished epoch has logged, before a checkpoint that repeats this epoch is written."""
    for curve in trainer.logger.local_logger.my_fantastic_logging.values():
        del curve[trainer.current_epoch :]
