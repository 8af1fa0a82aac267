"""What a trained model has cost, by any trainer of nnU-Net."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from nnunetv2_mamba.files import COST_FILE


def cost_of(fold_folder: Path) -> dict[str, Any] | None:
    """Cost of the training of one fold, with the keys of `nnunetv2_mamba.training.records.cost.Cost`.

    Args:
        fold_folder: ``fold_X`` of a trained model.

    Returns:
        What our trainers have written there; else what can be told from nnU-Net's own files; None where there is
        neither. What cannot be read is said on stderr, and costs the columns rather than the page they are for.
    """
    try:
        file = fold_folder / COST_FILE
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else _derived(fold_folder)
    # Unpickling bytes that are no pickle can raise next to anything.
    except Exception as error:
        print(f"the cost of {fold_folder} is not known, its files cannot be read ({error})", file=sys.stderr)
        return None


def _derived(fold_folder: Path) -> dict[str, Any] | None:
    from nnunetv2_mamba.training.records.cost import Cost

    cost = Cost.of_fold(fold_folder)
    return None if cost is None else dataclasses.asdict(cost)
