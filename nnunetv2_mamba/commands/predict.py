"""``nnUNetv2_mamba predict``: nnU-Net's prediction."""

from dataclasses import dataclass
from typing import Any

from nnunetv2_mamba.commands.stock import StockCommand, value_of


@dataclass
class Predict(StockCommand):
    """Predict with nnU-Net; takes the arguments of nnUNetv2_predict."""

    def dataset(self) -> str | None:
        """Value of -d."""
        return value_of(self.arguments, "-d")

    def entry(self) -> Any:
        """What nnUNetv2_predict calls."""
        from nnunetv2.inference.predict_from_raw_data import predict_entry_point

        return predict_entry_point
