"""Converts tensors of VMamba's 2-D RGB classifiers for another patch embedding, or for a 3-D network."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from nnunetv2_mamba.building_blocks.vss_encoder import VSSEncoder
from nnunetv2_mamba.ops.scan.orders import cyclic_axis_orders

CELL = (2, 2)
"""Rows and columns that VMamba's patch merging joins."""

PER_DIRECTION = ("x_proj_weight", "dt_projs_weight", "dt_projs_bias", "A_logs", "Ds")
"""Parameters of a scan whose first axis contains VMamba's four directions."""

DIRECTION_OF_AXIS = {2: 0, 1: 1, 0: 1}
"""VMamba's forward direction for each innermost axis (z, y, x). VMamba has no z, so z has the direction of y."""


class MisfitError(ValueError):
    """A tensor cannot be converted for the network; the message says why."""


def adapt(name: str, tensor: Tensor, *, encoder: VSSEncoder, image_channels: int) -> Tensor:
    """Convert a tensor of VMamba v0 for our network; a tensor that needs no conversion is returned as it is.

    Args:
        name: VMamba's name of the tensor.
        tensor: VMamba's tensor.
        encoder: encoder of the network, with its channels, patch size, strides and dimension.
        image_channels: number of input channels that are images; they are the first ones.

    Raises:
        MisfitError: the network merges cells of another size than VMamba, or the tensor does not have VMamba's shape.
    """
    volumetric = len(encoder.strides[1]) == 3
    parameter = name.rpartition(".")[2]
    if name == "patch_embed.proj.weight":
        *depth, rows, columns = encoder.strides[1]
        kernel = resize_patch(stem_channels(tensor, image_channels), (rows, columns))
        unseen = encoder.patch_embed.proj.in_channels - image_channels
        if unseen:
            # The masks of a cascade's first stage are not colours: at the start, the network ignores them.
            kernel = F.pad(kernel, (0, 0, 0, 0, 0, unseen))
        return inflate_patch(kernel, depth[0]) if volumetric else kernel
    if ".downsample." in name:
        *depth, rows, columns = encoder.strides[encoder.first_stride + 1 + int(name.split(".")[1])]
        if (rows, columns) != CELL:
            raise MisfitError(f"the network merges cells of {(*depth, rows, columns)}, VMamba of {CELL}")
        return inflate_merging(tensor, depth[0], averaged=name.endswith("reduction.weight")) if volumetric else tensor
    if volumetric and name.endswith(".conv2d.weight"):
        return inflate_depthwise(tensor)
    if volumetric and parameter in PER_DIRECTION:
        return inflate_directions(tensor)
    return tensor


def stem_channels(kernel: Tensor, channels: int) -> Tensor:
    """The patch embedding for another number of channels.

    One channel gets the sum over VMamba's colours, which has the same effect as repeating the image for each colour.
    Each of n channels gets that sum divided by n, so that n equal channels have the same effect as one.

    Args:
        kernel: (C, colours, rows, columns).
        channels: n.

    Returns:
        Kernel (C, n, rows, columns); the given kernel if it has n channels.
    """
    _require(kernel.ndim == 4, kernel)
    if kernel.shape[1] == channels:
        return kernel
    return (kernel.sum(1, keepdim=True) / channels).expand(-1, channels, -1, -1)


def resize_patch(kernel: Tensor, patch: Sequence[int]) -> Tensor:
    """The patch embedding for another patch size, by FlexiViT's pseudo-inverse resize.

    R resizes a patch, linearly if it grows and by area if it shrinks. The new kernel k' is the least-squares solution
    of <R x, k'> = <x, k> over all patches x. It is exact for every x if patches grow, and always for constant patches.
    Source: FlexiViT, arXiv 2212.08013, PI-resize.

    Args:
        kernel: (C, channels, rows, columns).
        patch: new rows and columns.
    """
    for axis, size in zip((2, 3), patch, strict=True):
        if kernel.shape[axis] != size:
            resize = _pseudo_inverse_resize(kernel.shape[axis], size, kernel)
            kernel = (kernel.transpose(axis, -1) @ resize).transpose(axis, -1)
    return kernel


def inflate_patch(kernel: Tensor, depth: int) -> Tensor:
    """Kernel (C, n, rows, columns) repeated along a new axis and divided by its length: (C, n, depth, rows, columns).

    A patch that is constant along z gets the token of its 2-D slice.
    """
    return kernel.unsqueeze(2).expand(-1, -1, depth, -1, -1) / depth


def inflate_merging(tensor: Tensor, depth: int, averaged: bool) -> Tensor:
    """Norm or linear map (..., 4C) of a patch merging for cells of z, y, x: (..., depth * 4C).

    A cell that is constant along z gets the token of its 2-D slice.

    Args:
        tensor: its last axis is (position in the cell, channel): channels vary fastest, among the positions rows.
        depth: length of the cell along z, which becomes its fastest axis.
        averaged: whether the copies are divided by `depth`, as the linear map needs.
    """
    _require(tensor.shape[-1] % 4 == 0, tensor)
    cell = tensor.unflatten(-1, (4, 1, -1))
    repeated = cell.expand(*cell.shape[:-2], depth, -1).flatten(-3)
    return repeated / depth if averaged else repeated


def inflate_depthwise(kernel: Tensor) -> Tensor:
    """Filters (D, 1, 3, 3) as centre slices of (D, 1, 3, 3, 3), zero elsewhere: a 2-D convolution of each slice."""
    _require(kernel.shape[1:] == (1, 3, 3), kernel)
    return F.pad(kernel.unsqueeze(2), (0, 0, 0, 0, 1, 1))


def inflate_directions(tensor: Tensor) -> Tensor:
    """Parameters of VMamba's 4 directions, whose first axis is a multiple of 4, for the 6 directions of a volume.

    Scans along x take VMamba's row-major directions, scans along y and z its column-major directions.
    """
    _require(tensor.shape[0] % 4 == 0, tensor)
    forward = [DIRECTION_OF_AXIS[order[-1]] for order in cyclic_axis_orders(3)]
    backward = [direction + 2 for direction in forward]
    return tensor.unflatten(0, (4, -1))[forward + backward].flatten(0, 1)


def _pseudo_inverse_resize(old: int, new: int, like: Tensor) -> Tensor:
    identity = torch.eye(old, dtype=torch.float64).unsqueeze(0)
    resized = F.interpolate(identity, new, mode="linear" if new > old else "area").squeeze(0)
    return torch.linalg.pinv(resized.T).to(like)


def _require(fits: bool, tensor: Tensor) -> None:
    if not fits:
        raise MisfitError(f"{tuple(tensor.shape)} is not its shape in VMamba v0")
