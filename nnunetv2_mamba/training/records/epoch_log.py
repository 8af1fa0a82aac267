"""Further curves in nnU-Net's logger, which knows only its own."""

from math import nan

from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer


def log_epoch_value(trainer: nnUNetTrainer, key: str, value: float, before: float = nan) -> None:
    """Log a value of the current epoch, once per epoch and curve.

    Args:
        trainer: whose logger gets it.
        key: name of the curve.
        value: a number.
        before: stands for the epochs before the first one logged, of a checkpoint that lacks the curve: nnU-Net wants
            as many values of every curve as there were epochs.
    """
    curve = trainer.logger.local_logger.my_fantastic_logging.setdefault(key, [])
    curve.extend([before] * (trainer.current_epoch - len(curve)))
    trainer.logger.log(key, value, trainer.current_epoch)


def forget_current_epoch(trainer: nnUNetTrainer) -> None:
    """Remove what the unfinished epoch has logged, before a checkpoint from which it is to be done again."""
    for curve in trainer.logger.local_logger.my_fantastic_logging.values():
        del curve[trainer.current_epoch :]
