"""Grids of pixels, cut into patches and put together again, padded and cropped."""

from collections.abc import Sequence
from itertools import chain
from math import prod

import torch
from torch import Tensor


def partition(grids: Sequence[Tensor], patch: Sequence[int]) -> Tensor:
    """Cut grids into patches, the channels of all grids side by side (eq. 1 of S3-Mamba).

    Args:
        grids: each (B, channels, *spatial), of one size; each axis is a multiple of its patch size.
        patch: patch size per axis.

    Returns:
        Tensor (B, P, J, C): P patches of J pixels, C the sum of the channels.
    """
    ndim = len(patch)
    cells = [length // size for length, size in zip(grids[0].shape[2:], patch, strict=True)]
    split = list(chain.from_iterable(zip(cells, patch, strict=True)))
    axes = (0, *range(2, 2 + 2 * ndim, 2), *range(3, 3 + 2 * ndim, 2), 1)
    # Views until here, so that all is moved once.
    joined = torch.cat([x.reshape(*x.shape[:2], *split).permute(axes) for x in grids], dim=-1)
    return joined.reshape(joined.shape[0], prod(cells), prod(patch), joined.shape[-1])


def fold(patches: Tensor, patch: Sequence[int], spatial: Sequence[int]) -> Tensor:
    """Undo `partition`.

    Args:
        patches: (B, P, J, C).
        patch: patch size per axis.
        spatial: size of the grid, each axis a multiple of its patch size.

    Returns:
        Tensor (B, C, *spatial).
    """
    ndim = len(patch)
    grid = [length // size for length, size in zip(spatial, patch, strict=True)]
    x = patches.reshape(patches.shape[0], *grid, *patch, patches.shape[-1])
    interleaved = chain.from_iterable(zip(range(1, ndim + 1), range(ndim + 1, 2 * ndim + 1), strict=True))
    return x.permute(0, 2 * ndim + 1, *interleaved).reshape(patches.shape[0], patches.shape[-1], *spatial)


def pad_to_multiple(x: Tensor, multiple: Sequence[int]) -> Tensor:
    """Continue x (B, C, *spatial) by its last values, at the end of each axis, up to a multiple of the given size."""
    # Not F.pad: the backward pass of its replicate mode has a memory layout that torch.compile does not expect.
    for axis, size in enumerate(multiple, start=2):
        if missing := -x.shape[axis] % size:
            last = x.narrow(axis, x.shape[axis] - 1, 1)
            x = torch.cat([x, *[last] * missing], dim=axis)
    return x


def crop(x: Tensor, spatial: Sequence[int]) -> Tensor:
    """Keep the first positions of each axis of x (B, C, *spatial)."""
    for axis, length in enumerate(spatial, start=2):
        x = x.narrow(axis, 0, length)
    return x
