"""Processes of a data-parallel training on the CPU."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

needs_distributed = pytest.mark.skipif(
    not torch.distributed.is_available(), reason="this torch is built without torch.distributed"
)


def run_together(commands: Sequence[Sequence[str | Path]], environments: Sequence[dict[str, str]]) -> None:
    """Run Python scripts side by side, as the processes of a data-parallel training are, and wait for all.

    Args:
        commands: script and arguments of each.
        environments: of each.

    Raises:
        AssertionError: one of them failed; the message is what they printed.
    """
    processes = [
        subprocess.Popen(
            [sys.executable, *map(str, command)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for command, environment in zip(commands, environments, strict=True)
    ]
    try:
        output = [process.communicate(timeout=180)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert not any(process.returncode for process in processes), "\n".join(output)
