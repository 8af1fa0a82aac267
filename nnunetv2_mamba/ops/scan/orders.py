"""The orders in which directional scans visit the positions of a grid."""

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch

AxisOrder = tuple[int, ...]


def cyclic_axis_orders(ndim: int) -> tuple[AxisOrder, ...]:
    """The axis permutations of SS2D and its N-D form: each axis is the fastest one exactly once.

    For two axes this is ``((0, 1), (1, 0))``, row-major then column-major; for three it is
    ``((0, 1, 2), (2, 0, 1), (1, 2, 0))``.

    Args:
        ndim: number of spatial axes.
    """
    return tuple(tuple((axis - shift) % ndim for axis in range(ndim)) for shift in range(ndim))


@lru_cache(maxsize=64)
def visiting_orders(spatial: tuple[int, ...], axis_orders: tuple[AxisOrder, ...], directions: int) -> torch.Tensor:
    """Row-major position index that each direction visits at each step.

    The directions are the axis orders walked forwards, then, where ``directions`` is twice their number, the same ones
    walked backwards. For a 2-D grid and both axis orders that is VMamba's k0 (row-major), k1 (column-major), k2
    (reversed k0), k3 (reversed k1).

    Args:
        spatial: grid size per axis; L is its product.
        axis_orders: permutations of the axes, slowest first.
        directions: K, once or twice the number of axis orders.

    Returns:
        Tensor (K, L) of int64 on the CPU; shared between callers, not to be written to.

    Raises:
        ValueError: see `check_axis_orders`.
    """
    check_axis_orders(axis_orders, len(spatial), directions)
    # By numpy, so that what is kept is a real tensor even where the first call comes from a tracer.
    grid = np.arange(math.prod(spatial)).reshape(spatial)
    forward = np.stack([grid.transpose(order).reshape(-1) for order in axis_orders])
    walked = forward if directions == len(axis_orders) else np.concatenate([forward, forward[:, ::-1]])
    return torch.from_numpy(walked)


def check_axis_orders(axis_orders: Sequence[AxisOrder], ndim: int, directions: int) -> None:
    """Raise a ValueError where an axis order is not a permutation of the axes, or K fits neither count of walks."""
    for order in axis_orders:
        if sorted(order) != list(range(ndim)):
            raise ValueError(f"axis order {tuple(order)} is not a permutation of the {ndim} axes of the grid")
    if directions not in (len(axis_orders), 2 * len(axis_orders)):
        raise ValueError(
            f"{directions} directions do not fit {len(axis_orders)} axis orders; "
            "use as many, or twice as many to walk each both ways"
        )


def unflatten_axis_orders(flat: Sequence[int], ndim: int) -> tuple[AxisOrder, ...]:
    """Undo the flattening that a `torch.library` schema asks for: ``[0, 1, 1, 0]`` becomes ``((0, 1), (1, 0))``."""
    cuts = range(0, len(flat) + 1, ndim)
    return tuple(tuple(flat[start:stop]) for start, stop in pairwise(cuts))
