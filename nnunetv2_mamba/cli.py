"""The command ``nnUNetv2_mamba``: one dataclass a command, whose fields are its options and whose run() does the work.

Importing this module or asking for help loads neither torch nor nnunetv2: a command imports what it needs when it runs.
"""

import argparse
import dataclasses
import importlib
import os
import sys
from dataclasses import dataclass, field
from typing import Any, get_args, get_type_hints

from nnunetv2_mamba import __version__, plugin

PROGRAM = "nnUNetv2_mamba"

# Name, where its dataclass is, and what it does; the dataclass itself is imported when its command is given.
COMMANDS = {
    "train": ("nnunetv2_mamba.cli:Train", "nnUNetv2_train, with our trainers found whatever the environment says"),
    "predict": ("nnunetv2_mamba.cli:Predict", "nnUNetv2_predict, likewise"),
    "plan": ("nnunetv2_mamba.cli:Plan", "derive plans that name one of our networks, for nnU-Net's own trainer"),
    "inspect": (
        "nnunetv2_mamba.commands.inspect:Inspect",
        "before training: say how many lesions there are, how large, and what a network can see of them",
    ),
    "evaluate": (
        "nnunetv2_mamba.commands.evaluate:Evaluate",
        "say which lesions were found, in predictions or a trained model's folds",
    ),
    "report": (
        "nnunetv2_mamba.commands.report:Report",
        "one page about models: found, missed and invented lesions, intervals, pictures",
    ),
    "convert-weights": (
        "nnunetv2_mamba.training.pretrained.command:ConvertWeights",
        "make a file for -pretrained_weights from a VMamba classifier",
    ),
    "demo": ("nnunetv2_mamba.demo.command:Demo", "plan, train, predict and evaluate on a small real dataset"),
    "doctor": ("nnunetv2_mamba.cli:Doctor", "say what works on this machine, what does not, and the remedy"),
    "trainers": ("nnunetv2_mamba.cli:Trainers", "list our trainers; --folder prints where they are"),
}


def option(help: str, *flags: str, **settings: Any) -> dict[str, Any]:
    """Metadata that make a dataclass field a command line option.

    Args:
        help: what ``--help`` says.
        *flags: spellings of the option; ``--name`` of the field where none is given. A word without a dash makes it a
            positional argument, which that word stands for in the help.
        **settings: anything else that `argparse` takes, such as ``nargs`` or ``metavar``.
    """
    return {"help": help, "flags": flags, "settings": settings}


@dataclass
class StockCommand:
    """A command of nnU-Net that gets its arguments untouched, once our trainers can be found.

    Attributes:
        arguments: everything behind the command's name.
    """

    arguments: list[str]

    def run(self) -> int:
        """Check what is cheap to check, then hand over to nnU-Net."""
        plugin.expose_trainers()
        self.check_trainer()
        self.check_dataset()
        self.check_torchvision()
        sys.argv = [f"{PROGRAM} {type(self).__name__.lower()}", *self.arguments]
        return self.entry()() or 0

    def check_trainer(self) -> None:
        """Refuse a trainer that nnU-Net cannot find before it spends seconds on looking."""
        trainer = value_of(self.arguments, "-tr")
        if trainer is None or plugin.may_exist(trainer):
            return
        raise SystemExit(
            f"-tr {trainer}: neither nnU-Net, nor nnUNet_extTrainer, nor this package has such a trainer; "
            f"ours are {', '.join(plugin.trainer_names())}"
        )

    def check_dataset(self) -> None:
        """Refuse a missing dataset in nnU-Net's own words, without a stack of calls."""
        dataset = self.dataset()
        if dataset is None:
            return
        from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name

        try:
            maybe_convert_to_dataset_name(dataset)
        except (RuntimeError, ValueError) as error:
            raise SystemExit(str(error)) from error

    def check_torchvision(self) -> None:
        """Refuse a torchvision that would end nnU-Net's look-up of trainers of other packages, with the remedy."""
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


@dataclass
class Train(StockCommand):
    """Train with nnU-Net; takes the arguments of nnUNetv2_train."""

    def dataset(self) -> str | None:
        """First argument, unless that is an option."""
        first = self.arguments[:1]
        return first[0] if first and not first[0].startswith("-") else None

    def entry(self) -> Any:
        """What nnUNetv2_train calls."""
        from nnunetv2.run.run_training import run_training_entry

        return run_training_entry


@dataclass
class Predict(StockCommand):
    """Predict with nnU-Net; takes the arguments of nnUNetv2_predict."""

    def dataset(self) -> str | None:
        """What follows -d."""
        return value_of(self.arguments, "-d")

    def entry(self) -> Any:
        """What nnUNetv2_predict calls."""
        from nnunetv2.inference.predict_from_raw_data import predict_entry_point

        return predict_entry_point


@dataclass
class Plan:
    """Derive a plans file that names one of our networks, sharing the preprocessed data of the plans it comes from."""

    dataset: str = field(metadata=option("dataset id or name", "-d"))
    source: str = field(default="nnUNetPlans", metadata=option("plans to start from", "--from", metavar="PLANS"))
    network: str = field(default="S3Mamba", metadata=option("one of our networks"))
    configurations: list[str] | None = field(
        default=None, metadata=option("configurations that get the network; all unless given", "-c", nargs="+")
    )
    name: str | None = field(default=None, metadata=option("name of the new plans; made from the two unless given"))
    checkpointed_stages: list[int] | None = field(
        default=None,
        metadata=option("stages that need less memory and more time in training; 0 is the finest", nargs="+"),
    )
    batch_size: int | None = field(
        default=None, metadata=option("samples in a training step; as nnU-Net planned unless given", metavar="N")
    )

    def run(self) -> int:
        """Write the plans file and print the training command that uses it."""
        from nnunetv2_mamba.plans.derive import derive_plans_file

        try:
            path = derive_plans_file(
                self.dataset,
                self.source,
                self.network,
                self.configurations,
                self.name,
                self.checkpointed_stages,
                self.batch_size,
            )
        except (OSError, RuntimeError, ValueError) as error:
            raise SystemExit(f"{PROGRAM} plan: {error}") from error
        print(f"{path}\ntrain it with: nnUNetv2_train {self.dataset} CONFIGURATION FOLD -p {path.stem}")
        return 0


@dataclass
class Doctor:
    """Say what works on this machine, what does not, and the remedy; exit code 0 when training would work."""

    def run(self) -> int:
        """Print every finding and return 1 if one of them keeps nnU-Net from training."""
        from nnunetv2_mamba.doctor import report

        return report()


@dataclass
class Trainers:
    """List our trainers, or the folder that nnUNet_extTrainer has to name."""

    folder: bool = field(default=False, metadata=option("print their folder, for nnUNet_extTrainer"))

    def run(self) -> int:
        """Print one name a line, or the folder."""
        print(plugin.trainers_folder() if self.folder else "\n".join(plugin.trainer_names()))
        return 0


def value_of(arguments: list[str], flag: str) -> str | None:
    """What follows a flag, as ``-tr NAME`` or ``-tr=NAME``; None where the flag is not there."""
    for position, argument in enumerate(arguments):
        if argument == flag:
            return next(iter(arguments[position + 1 :]), None)
        if argument.startswith(flag + "="):
            return argument.removeprefix(flag + "=")
    return None


def parse(command: Any, name: str, arguments: list[str]) -> Any:
    """An instance of a command's dataclass from its command line.

    Args:
        command: the dataclass; the metadata of its fields are made by `option`, or are mappings like its.
        name: what the user calls it.
        arguments: everything behind the name.
    """
    parser = argparse.ArgumentParser(f"{PROGRAM} {name}", description=(command.__doc__ or "").partition("\n\n")[0])
    types = get_type_hints(command)
    for entry in dataclasses.fields(command):
        flags = entry.metadata.get("flags") or (f"--{entry.name.replace('_', '-')}",)
        default = entry.default if entry.default_factory is dataclasses.MISSING else entry.default_factory()
        positional = not flags[0].startswith("-")
        label = {"metavar": flags[0]} if positional else {"dest": entry.name}
        settings = {"help": entry.metadata.get("help"), **label, **entry.metadata.get("settings", {})}
        if types[entry.name] is bool:
            settings["action"] = "store_true"
        else:
            settings["type"] = scalar_type(types[entry.name])
            if not positional:
                settings["required"] = default is dataclasses.MISSING
        if default not in (dataclasses.MISSING, None, False):
            settings["help"] = f"{settings['help'] or ''} (default: {default})"
        names = (entry.name,) if positional else flags
        parser.add_argument(*names, default=None if default is dataclasses.MISSING else default, **settings)
    return command(**vars(parser.parse_args(arguments)))


def scalar_type(annotation: Any) -> Any:
    """The type of one word on the command line: int of ``int | None``, str of ``list[str] | None``."""
    while inner := [part for part in get_args(annotation) if part is not type(None)]:
        annotation = inner[0]
    return annotation


def usage() -> str:
    """The list of commands."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {summary}" for name, (_, summary) in COMMANDS.items()]
    return "\n".join([f"usage: {PROGRAM} COMMAND ...", "", *lines, "", f"{PROGRAM} COMMAND --help explains a command."])


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code.

    Args:
        arguments: command line without the program's name; `sys.argv` where not given.

    Raises:
        SystemExit: the command line is wrong, with one sentence that says how; or help was asked for.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    name, rest = (arguments[0], arguments[1:]) if arguments else ("--help", [])
    if name in ("-h", "--help"):
        print(usage())
        return 0
    if name == "--version":
        print(__version__)
        return 0
    if name not in COMMANDS:
        raise SystemExit(f"{PROGRAM} {name}: no such command, only {', '.join(COMMANDS)}")
    module, _, attribute = COMMANDS[name][0].partition(":")
    command = getattr(importlib.import_module(module), attribute)
    if issubclass(command, StockCommand):
        return command(rest).run() or 0
    ready = parse(command, name, rest)
    try:
        code = ready.run() or 0
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print(f"\n{PROGRAM} {name}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read the output has had enough, as `head` has; Python would complain again when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
