"""The tensor attention of TCMA at one scale: image, class and edge features of a patch weigh its pixels."""

from collections.abc import Sequence
from itertools import chain
from math import ceil, prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nnunetv2_mamba.building_blocks.precision import without_autocast


def partition(x: Tensor, patch: Sequence[int]) -> Tensor:
    """Cut a grid into patches (eq. 1).

    Args:
        x: (B, C, *spatial), each axis a multiple of its patch size.
        patch: patch size per axis.

    Returns:
        Tensor (B, P, J, C): P patches of J pixels.
    """
    ndim = len(patch)
    grid = [length // size for length, size in zip(x.shape[2:], patch, strict=True)]
    x = x.reshape(*x.shape[:2], *chain.from_iterable(zip(grid, patch, strict=True)))
    x = x.permute(0, *range(2, 2 + 2 * ndim, 2), *range(3, 3 + 2 * ndim, 2), 1)
    return x.reshape(x.shape[0], prod(grid), prod(patch), x.shape[-1])


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


class TensorAttention(nn.Module):
    """Attention of every class at every pixel, from the patch around it (eqs. 2-4).

    With O, R and E the image, class and edge features of a patch, per sample: A_B[k,c,e] = mean over the pixels j of
    O[j,c] R[j,k] E[j,e]; W_D[j,(c,e)] = sigmoid(fc2(relu(norm(fc1([O, R, E][j]))))); the attention is the mean over
    (c,e) of A_B[k,c,e] W_D[j,(c,e)]. The paper has sums; means keep the size independent of the patch. Source:
    S3-Mamba, arXiv 2412.14546, eqs. 1-4, in the reading of docs/s3-mamba.md.

    Args:
        patch: d, edge length of a patch. Along an axis shorter than d the patch is as long as the axis, but two at
            least, so that batch norm always sees more than one row.
        num_classes: channels of R.
        image_channels: channels of O.
        edge_channels: channels of E.
        hidden: width of the hidden layer.
    """

    def __init__(
        self, patch: int, num_classes: int, image_channels: int = 8, edge_channels: int = 8, hidden: int = 64
    ) -> None:
        super().__init__()
        self.patch = patch
        self.num_classes = num_classes
        self.fc1 = nn.Linear(image_channels + num_classes + edge_channels, hidden)
        self.norm = nn.BatchNorm1d(hidden)
        self.fc2 = nn.Linear(hidden, image_channels * edge_channels)

    def forward(self, image: Tensor, classes: Tensor, edges: Tensor) -> Tensor:
        """Attend.

        Args:
            image: O (B, C, *spatial).
            classes: R (B, Nc, *spatial).
            edges: E (B, E, *spatial).

        Returns:
            Tensor (B, Nc, *spatial), float32 at least.
        """
        spatial = image.shape[2:]
        patch = self._clipped_patch(spatial)
        P_O, P_I, P_E = (partition(pad_to_multiple(x, patch), patch) for x in (image, classes, edges))
        # A small object on a flat background can have values of hundreds in O and E: their product leaves float16.
        wide = torch.promote_types(image.dtype, torch.float32)
        with without_autocast(image.device):
            # A_B of all classes in one product: the outer product of O and E at each pixel, averaged with R as weights.
            image_edges = (P_O.to(wide).unsqueeze(-1) * P_E.to(wide).unsqueeze(-2)).flatten(-2)
            A_B = torch.matmul(P_I.to(wide).transpose(-1, -2), image_edges) / prod(patch)
        A_C = torch.cat((P_O, P_I, P_E), dim=-1)
        hidden = self.norm(self.fc1(A_C).flatten(0, 2)).unflatten(0, A_C.shape[:-1])
        W_D = self.fc2(F.relu(hidden)).sigmoid()
        with without_autocast(image.device):
            attention = torch.matmul(W_D.to(wide), A_B.transpose(-1, -2)) / W_D.shape[-1]
        padded = [ceil(length / size) * size for length, size in zip(spatial, patch, strict=True)]
        return crop(fold(attention, patch, padded), spatial)

    def compute_conv_feature_map_size(self, spatial: Sequence[int]) -> int:
        """Feature-map elements kept for the backward pass of one sample of that size, padded to whole patches."""
        patch = self._clipped_patch(spatial)
        n_patches = prod(ceil(length / size) for length, size in zip(spatial, patch, strict=True))
        pixels, pairs = n_patches * prod(patch), self.fc2.out_features
        return pixels * (2 * self.fc1.in_features + 3 * self.fc1.out_features + 2 * pairs) + n_patches * (
            self.num_classes * pairs
        )

    def _clipped_patch(self, spatial: Sequence[int]) -> list[int]:
        return [min(self.patch, max(length, 2)) for length in spatial]


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
