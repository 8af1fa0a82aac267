"""Refuses a batch with NaN or infinite values, and names its cases, before it damages the weights."""

from collections.abc import Mapping
from typing import Any

import torch


def require_finite(batch: Mapping[str, Any]) -> None:
    """Check the images of a batch.

    Args:
        batch: from nnU-Net's data loader: ``data`` (B, C, *spatial), still on the CPU, and ``keys``, B case names.

    Raises:
        ValueError: the images of a case are not finite; the message names every such case.
    """
    data = batch["data"]
    # The sum is one pass without a temporary array. It can overflow, so the batch is refused only after a second check.
    if torch.isfinite(data.sum()):
        return
    bad = [key for key, image in zip(batch["keys"], data, strict=True) if not torch.isfinite(image).all()]
    if bad:
        raise ValueError(
            f"the preprocessed images of {', '.join(sorted(set(bad)))} hold NaN or infinite values: "
            "repair or remove these cases in nnUNet_raw and run nnUNetv2_plan_and_preprocess again."
        )
