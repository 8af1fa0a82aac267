"""Connected components of masks: the lesions of a reference, the components of a prediction."""

import cc3d
import numpy as np
from scipy import ndimage

from nnunetv2_mamba.evaluation.protocol import Connectivity

NEIGHBOURS = {2: {"faces": 4, "edges": 8, "corners": 8}, 3: {"faces": 6, "edges": 18, "corners": 26}}
"""How many neighbours a voxel has, by number of dimensions and connectivity."""


def label_components(mask: np.ndarray, connectivity: Connectivity = "corners") -> tuple[np.ndarray, int]:
    """Number the connected components of a mask.

    Args:
        mask: bool (*spatial), 2-D or 3-D.
        connectivity: which voxels are neighbours.

    Returns:
        Component of each voxel (*spatial), 0 outside the mask, and the number of components.
    """
    # As contiguous bytes: cc3d 4.1.1 gives wrong numbers to some 8-connected components of bool images, and to columns
    # of one voxel that are cut out of a volume.
    labels, number = cc3d.connected_components(
        np.ascontiguousarray(mask).view(np.uint8), connectivity=NEIGHBOURS[mask.ndim][connectivity], return_N=True
    )
    return labels, int(number)


def dilated(mask: np.ndarray, *, spacing: tuple[float, ...], millimetres: float, steps: int) -> np.ndarray:
    """Dilate a mask by a distance or by steps.

    Args:
        mask: bool (*spatial).
        spacing: of the voxels in mm, one number for each axis.
        millimetres: largest distance from the centre of a voxel of the mask; used where `steps` is 0.
        steps: largest number of steps from a voxel of the mask, each to a neighbour at a face or an edge.
    """
    if steps:
        element = ndimage.generate_binary_structure(mask.ndim, 2)
        return ndimage.binary_dilation(mask, element, iterations=steps)
    return ndimage.distance_transform_edt(~mask, sampling=spacing) <= millimetres * (1 + 1e-9) if mask.any() else mask


def label_lesions(
    mask: np.ndarray,
    *,
    spacing: tuple[float, ...],
    connectivity: Connectivity,
    millimetres: float = 0.0,
    steps: int = 0,
) -> tuple[np.ndarray, np.ndarray, int]:
    """Number the lesions of a reference; lesions whose dilations touch are one.

    Args:
        mask: bool (*spatial).
        spacing: of the voxels in mm, one number for each axis.
        connectivity: which voxels are neighbours.
        millimetres: see `dilated`.
        steps: see `dilated`.

    Returns:
        Lesion of each voxel of the mask (*spatial); the same of its dilation; and the number of lesions.
    """
    reach, number = label_components(
        dilated(mask, spacing=spacing, millimetres=millimetres, steps=steps) if millimetres or steps else mask,
        connectivity,
    )
    return np.where(mask, reach, 0) if millimetres or steps else reach, reach, number
