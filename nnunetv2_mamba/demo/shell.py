"""Runs nnU-Net's commands and shows them: reason, command line, live output and time."""

import os
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path


class CommandError(RuntimeError):
    """A command did not succeed; the message names it and its exit code."""

    def __init__(self, command: list[str], returncode: int) -> None:
        """Takes the command with its arguments and what it returned, negative for the signal that ended it."""
        ending = f"was ended by signal {-returncode}" if returncode < 0 else f"stopped with exit code {returncode}"
        super().__init__(f"`{shlex.join(command)}` {ending}; its own messages above say why")
        self.exit_code = returncode if returncode > 0 else 128 - returncode


@dataclass
class Shell:
    """Runs commands in one folder and measures the time of each.

    Attributes:
        folder: working directory of the commands; their relative paths start there.
        variables: environment variables that are set on top of the caller's own.
        seconds: wall-clock time of each command that has run, by the name of its step.
    """

    folder: Path
    variables: dict[str, str]
    seconds: dict[str, float] = field(default_factory=dict)

    def show_setting(self) -> None:
        """Prints folder and variables as lines that can be pasted into a terminal."""
        print(f"cd {shlex.quote(str(self.folder))}")
        for name, value in self.variables.items():
            print(f"export {name}={shlex.quote(value)}")
        scripts = Path(sys.executable).parent
        if shutil.which("nnUNetv2_train") is None and (scripts / "nnUNetv2_train").exists():
            print(f"export PATH={shlex.quote(str(scripts))}:$PATH")

    def run(self, step: str, reason: str, command: list[str]) -> None:
        """Prints a command and its reason, runs it, lets its output through.

        Args:
            step: short name, for the table of times.
            reason: one line on what the command is for.
            command: name of an nnU-Net command and its arguments.

        Raises:
            CommandError: it returned anything but 0.
        """
        self.show(reason, command)
        started = time.perf_counter()
        completed = subprocess.run(
            [*launcher(command[0]), *command[1:]], cwd=self.folder, env=os.environ | self.variables
        )
        self.seconds[step] = time.perf_counter() - started
        if completed.returncode:
            raise CommandError(command, completed.returncode)

    @staticmethod
    def show(reason: str, command: list[str]) -> None:
        """Prints a command and its reason."""
        # Flushed, because a pipe would otherwise show the command after its output.
        print(f"\n# {reason}\n$ {shlex.join(command)}", flush=True)


def launcher(name: str) -> list[str]:
    """How to start a command of the environment that this Python belongs to.

    Args:
        name: name of a console script, such as ``nnUNetv2_train``.

    Returns:
        Path of the script beside this Python, else a call of the same function through Python itself, for installations
        that have no scripts there (``pip install --target``, zipped environments).
    """
    script = shutil.which(name, path=str(Path(sys.executable).parent))
    if script:
        return [script]
    call = (
        f"from importlib.metadata import entry_points as e; [s] = e(group='console_scripts', name={name!r}); s.load()()"
    )
    return [sys.executable, "-c", call]
