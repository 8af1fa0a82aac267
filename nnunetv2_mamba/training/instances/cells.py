"""The lesions of a patch, and which of them each voxel is nearest to; computed by the workers that load the data."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from scipy import ndimage
from torch import Tensor

from nnunetv2_mamba.evaluation.components import label_components


def nearest_components(mask: np.ndarray) -> np.ndarray:
    """Number of the connected component that each voxel is nearest to, or belongs to: the Voronoi cells of a mask.

    Args:
        mask: bool (*spatial), 2-D or 3-D.

    Returns:
        int32 (*spatial), numbers from 1; 0 everywhere where the mask is empty. Distances are in voxels.
    """
    components, number = label_components(mask)
    if number < 2:
        return np.full(mask.shape, number, dtype=np.int32)
    nearest = ndimage.distance_transform_edt(components == 0, return_distances=False, return_indices=True)
    return components[tuple(nearest)].astype(np.int32)


def cells_of(masks: Tensor) -> Tensor:
    """The cells of several masks, each for itself.

    Args:
        masks: bool (..., *spatial), with one axis or two in front of the spatial ones, on any device.

    Returns:
        int32 tensor of the same shape, on the CPU.
    """
    spatial = masks.shape[-2:] if masks.ndim < 4 else masks.shape[2:]
    flat = masks.detach().cpu().numpy().reshape(-1, *spatial)
    return torch.from_numpy(np.stack([nearest_components(mask) for mask in flat])).reshape(masks.shape)


class AppendCells(BasicTransform):
    """Last transform of a training patch: appends the cells of the reference (F, *spatial) to its targets.

    The targets become a list, also without deep supervision: those of each resolution, full resolution first, then the
    cells of each foreground class or region.

    Args:
        foreground_labels: labels of the classes; None where the targets are regions.
        ignore_label: whether the last region is the ignore label.
    """

    def __init__(self, foreground_labels: Sequence[int] | None, *, ignore_label: bool) -> None:
        super().__init__()
        self.foreground_labels = foreground_labels
        self.ignore_label = ignore_label

    def apply(self, data_dict: dict[str, Any], **parameters: Any) -> dict[str, Any]:
        """Append the cells to ``segmentation``."""
        targets = data_dict["segmentation"]
        targets = list(targets) if isinstance(targets, list | tuple) else [targets]
        data_dict["segmentation"] = [*targets, self.cells(targets[0])]
        return data_dict

    def cells(self, target: Tensor) -> Tensor:
        """Cells of a target at full resolution: labels (1, *spatial), or regions (R, *spatial)."""
        if self.foreground_labels is None:
            masks = target[: len(target) - self.ignore_label].bool()
        else:
            masks = torch.cat([target[:1] == label for label in self.foreground_labels])
        return torch.stack([torch.from_numpy(nearest_components(mask.numpy())) for mask in masks])
