"""Which lesion matches which predicted component."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from nnunetv2_mamba.evaluation.protocol import Protocol


@dataclass(frozen=True)
class Overlaps:
    """The pairs of a lesion and a component that touch (K pairs).

    Attributes:
        lesion: number of the lesion (K,), from 1.
        component: number of the component (K,), from 1.
        voxels: in both, as drawn (K,); 0 where only the lesion's dilation is touched.
        iou: voxels in both over voxels in either, as drawn (K,).
    """

    lesion: np.ndarray
    component: np.ndarray
    voxels: np.ndarray
    iou: np.ndarray

    def among(self, keep: np.ndarray) -> "Overlaps":
        """Only those pairs for which `keep` (K,) is true."""
        return Overlaps(
            lesion=self.lesion[keep], component=self.component[keep], voxels=self.voxels[keep], iou=self.iou[keep]
        )


def overlaps_between(
    *,
    lesions: np.ndarray,
    reach: np.ndarray,
    components: np.ndarray,
    lesion_voxels: np.ndarray,
    component_voxels: np.ndarray,
) -> Overlaps:
    """Find the pairs that touch.

    Args:
        lesions: number of the lesion at each voxel (*spatial).
        reach: the same for the dilated lesions (*spatial); equal to `lesions` without dilation.
        components: number of the predicted component at each voxel (*spatial).
        lesion_voxels: size of each lesion (n + 1,), by number.
        component_voxels: size of each component (m + 1,), by number.
    """
    touching = np.flatnonzero((reach > 0) & (components > 0))
    width = len(component_voxels)
    keys = reach.ravel()[touching].astype(np.int64) * width + components.ravel()[touching]
    drawn = lesions.ravel()[touching] > 0
    pairs, which = np.unique(keys, return_inverse=True)
    both = np.bincount(which, weights=drawn, minlength=len(pairs)).astype(np.int64)
    lesion, component = pairs // width, pairs % width
    iou = both / (lesion_voxels[lesion] + component_voxels[component] - both)
    return Overlaps(lesion=lesion, component=component, voxels=both, iou=iou)


def matches(overlaps: Overlaps, protocol: Protocol) -> np.ndarray:
    """Which pairs match (K,), by the protocol's rule.

    - ``any_overlap``: every pair that touches. A lesion may have several components, a component several lesions.
    - ``iou``: every pair whose IoU reaches the threshold.
    - ``one_to_one``: as many of these pairs as possible, where no two pairs share a lesion or a component. Among
      equally many pairs, the ones with the largest sum of IoU (a linear assignment).
    """
    possible = candidates(overlaps, protocol)
    return _one_to_one(overlaps, possible) if protocol.matching == "one_to_one" else possible


def candidates(overlaps: Overlaps, protocol: Protocol) -> np.ndarray:
    """Which pairs overlap enough to match (K,), before the assignment of ``one_to_one``."""
    if protocol.matching == "any_overlap":
        return np.ones(len(overlaps.iou), dtype=bool)
    return (overlaps.iou >= protocol.iou_threshold) & (overlaps.voxels > 0)


def _one_to_one(overlaps: Overlaps, possible: np.ndarray) -> np.ndarray:
    """The best assignment: a matching in the sparse bipartite graph of lesions and components."""
    chosen = np.zeros_like(possible)
    where = np.flatnonzero(possible)
    if not len(where):
        return chosen
    lesions, row = np.unique(overlaps.lesion[where], return_inverse=True)
    components, column = np.unique(overlaps.component[where], return_inverse=True)
    # One more pair weighs more than any sum of IoU. An edge of negligible weight lets a lesion stay unmatched.
    worth = len(where) + overlaps.iou[where]
    alone = np.arange(len(lesions))
    graph = sparse.csr_array(
        (
            np.concatenate([worth, np.full(len(lesions), 1e-6)]),
            (np.concatenate([row, alone]), np.concatenate([column, len(components) + alone])),
        ),
        shape=(len(lesions), len(components) + len(lesions)),
    )
    taken = sparse.csgraph.min_weight_full_bipartite_matching(graph, maximize=True)[1]
    chosen[where] = taken[row] == column
    return chosen
