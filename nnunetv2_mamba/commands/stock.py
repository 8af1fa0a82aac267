"""What the commands that call a command of nnU-Net have in common."""

import sys
from dataclasses import dataclass
from typing import Any

from nnunetv2_mamba import plugin
from nnunetv2_mamba.commands.options import PROGRAM


@dataclass
class StockCommand:
    """A command of nnU-Net that finds our trainers and gets its arguments unchanged.

    Attributes:
        arguments: everything after the command's name.
    """

    arguments: list[str]

    def run(self) -> int:
        """Make the cheap checks, then call nnU-Net's command."""
        plugin.expose_trainers()
        self.check_trainer()
        self.check_dataset()
        self.check_torchvision()
        sys.argv = [f"{PROGRAM} {type(self).__name__.lower()}", *self.arguments]
        return self.entry()() or 0

    def check_trainer(self) -> None:
        """Refuse a trainer that nnU-Net cannot find, before its search, which takes seconds."""
        trainer = value_of(self.arguments, "-tr")
        if trainer is None:
            return
        for file in plugin.files_without_their_trainer():
            if file.stem == trainer:
                raise SystemExit(f"-tr {trainer}: {': '.join(plugin.describe_missing_trainer(file))}.")
        if plugin.may_exist(trainer):
            return
        raise SystemExit(
            f"-tr {trainer}: neither nnU-Net, nor nnUNet_extTrainer, nor this package has such a trainer; "
            f"this package has {', '.join(plugin.trainer_names())}"
        )

    def check_dataset(self) -> None:
        """Refuse a missing dataset with nnU-Net's own message, without a traceback."""
        dataset = self.dataset()
        if dataset is None:
            return
        from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name

        try:
            maybe_convert_to_dataset_name(dataset)
        except (RuntimeError, ValueError) as error:
            raise SystemExit(str(error)) from error

    def check_torchvision(self) -> None:
        """Refuse a torchvision with which nnU-Net's search for trainers fails; the message has the remedy."""
        trainer = value_of(self.arguments, "-tr")
        if trainer not in plugin.trainer_names():
            return
        from nnunetv2_mamba.doctor import Status, check_torchvision

        finding = check_torchvision()
        if finding.status is Status.FAIL:
            raise SystemExit(f"-tr {trainer}: nnU-Net cannot search for it because {finding.text}; {finding.remedy}")

    def dataset(self) -> str | None:
        """Dataset name or id among the arguments."""
        raise NotImplementedError

    def entry(self) -> Any:
        """nnU-Net's entry function."""
        raise NotImplementedError


def value_of(arguments: list[str], flag: str) -> str | None:
    """Value of a flag, as ``-tr NAME`` or ``-tr=NAME``; None without the flag."""
    for position, argument in enumerate(arguments):
        if argument == flag:
            return next(iter(arguments[position + 1 :]), None)
        if argument.startswith(flag + "="):
            return argument.removeprefix(flag + "=")
    return None
