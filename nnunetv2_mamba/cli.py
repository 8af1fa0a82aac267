"""The command ``nnUNetv2_mamba``: it parses the command line into the dataclass of a command, and runs that.

Importing this module or asking for help loads neither torch nor nnunetv2: a command imports what it needs when it runs.
"""

import argparse
import dataclasses
import importlib
import os
import sys
from typing import Any, get_args, get_type_hints

from nnunetv2_mamba import __version__
from nnunetv2_mamba.commands.options import PROGRAM
from nnunetv2_mamba.commands.stock import StockCommand

# Name, its file in `commands` and the dataclass in it, and what it does; a dataclass is imported when it is asked for.
COMMANDS = {
    "train": (
        "train:Train",
        "nnUNetv2_train, with our trainers found whatever the environment says",
    ),
    "predict": ("predict:Predict", "nnUNetv2_predict, likewise"),
    "plan": (
        "plan:Plan",
        "derive plans that name one of our networks, for nnU-Net's own trainer",
    ),
    "inspect": (
        "inspect:Inspect",
        "before training: say how many lesions there are, how large, and what a network can see of them",
    ),
    "evaluate": (
        "evaluate:Evaluate",
        "say which lesions were found, in predictions or a trained model's folds",
    ),
    "report": (
        "report:Report",
        "one page about models: true positive, missed and false positive lesions, intervals, pictures",
    ),
    "calibrate": (
        "calibrate:Calibrate",
        "fit a threshold and a smallest component to validated folds, for a stated aim",
    ),
    "convert-weights": (
        "convert_weights:ConvertWeights",
        "make a file for -pretrained_weights from a VMamba classifier",
    ),
    "demo": ("demo:Demo", "plan, train, predict and evaluate on a small real dataset"),
    "networks": ("networks:Networks", "list our networks with their sizes and papers, as published or for a plan"),
    "doctor": (
        "doctor:Doctor",
        "say what works on this machine, what does not, and the remedy",
    ),
    "trainers": ("trainers:Trainers", "list our trainers; --folder prints where they are"),
}


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
        raise SystemExit(f"{PROGRAM} {name}: unknown command, use one of {', '.join(COMMANDS)}")
    module, _, attribute = COMMANDS[name][0].partition(":")
    command = getattr(importlib.import_module(f"nnunetv2_mamba.commands.{module}"), attribute)
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
