"""Cost of the training of a model, by any trainer of nnU-Net."""

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
        Content of ``cost.json``, which our trainers write; else the cost derived from nnU-Net's own files; None without
        either. A file that cannot be read is reported on stderr: the page is written without its cost.
    """
    try:
        file = fold_folder / COST_FILE
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else _derived(fold_folder)
    # Unpickling a damaged file can raise almost any exception.
    except Exception as error:
        print(f"the cost of {fold_folder} is unknown, its files cannot be read ({error})", file=sys.stderr)
        return None


def _derived(fold_folder: Path) -> dict[str, Any] | None:
    from nnunetv2_mamba.training.records.cost import Cost

    cost = Cost.of_fold(fold_folder)
    return None if cost is None else dataclasses.asdict(cost)
