"""Refuses a batch with NaN or infinite values by the names of its cases, before it ruins the weights."""

from collections.abc import Mapping
from typing import Any

import torch


def require_finite(batch: Mapping[str, Any]) -> None:
    """Check the images of a batch.

    Args:
        batch: from nnU-Net's data loader: ``data`` (B, C, *spatial), still on the CPU, and ``keys``, B case names.

    Raises:
        ValueError: the images of a case are not finite; names every such case.
    """
    data = batch["data"]
    # One pass without a temporary of the batch's size; a sum can overflow, so only the closer look may refuse.
    if torch.isfinite(data.sum()):
        return
    bad = [key for key, image in zip(batch["keys"], data, strict=True) if not torch.isfinite(image).all()]
    if bad:
        raise ValueError(
            f"the preprocessed images of {', '.join(sorted(set(bad)))} hold NaN or infinite values: "
            "repair or remove these cases in nnUNet_raw and run nnUNetv2_plan_and_preprocess again."
        )
