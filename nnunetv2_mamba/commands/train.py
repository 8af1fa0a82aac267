"""``nnUNetv2_mamba train``: nnU-Net's training."""

from dataclasses import dataclass
from typing import Any

from nnunetv2_mamba.commands.stock import StockCommand


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
