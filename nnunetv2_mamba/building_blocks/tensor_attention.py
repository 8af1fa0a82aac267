"""The tensor attention of TCMA at one scale: image, class and edge features of a patch weigh its pixels."""

from collections.abc import Sequence
from math import ceil, prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nnunetv2_mamba.building_blocks.grid import crop, fold, pad_to_multiple, partition
from nnunetv2_mamba.building_blocks.precision import without_autocast


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
        self, patch: int, num_classes: int, *, image_channels: int = 8, edge_channels: int = 8, hidden: int = 64
    ) -> None:
        super().__init__()
        self.patch = patch
        self.num_classes = num_classes
        self.image_channels = image_channels
        self.edge_channels = edge_channels
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
        widths = [self.image_channels, self.num_classes, self.edge_channels]
        A_C = partition([pad_to_multiple(x, patch) for x in (image, classes, edges)], patch)
        hidden = self.norm(self.fc1(A_C).flatten(0, 2))
        W_D = self.fc2(F.relu(hidden, inplace=True)).sigmoid().unflatten(0, A_C.shape[:-1])
        # A small object on a flat background can have values of hundreds in O and E: their product leaves float16.
        wide = torch.promote_types(A_C.dtype, torch.float32)
        with without_autocast(image.device):
            A_B = _mean_product(*A_C.to(wide).split(widths, dim=-1))
            attention = torch.matmul(W_D.to(wide), A_B.transpose(-1, -2) / W_D.shape[-1])
        padded = [ceil(length / size) * size for length, size in zip(spatial, patch, strict=True)]
        return crop(fold(attention, patch, padded), spatial)

    def compute_conv_feature_map_size(self, spatial: Sequence[int]) -> int:
        """Feature-map elements kept for the backward pass of one sample of that size, padded to whole patches."""
        patch = self._clipped_patch(spatial)
        n_patches = prod(ceil(length / size) for length, size in zip(spatial, patch, strict=True))
        pixels, pairs = n_patches * prod(patch), self.fc2.out_features
        product = self.num_classes * self.image_channels if self.num_classes < self.edge_channels else pairs
        per_pixel = self.fc1.in_features + 2 * self.fc1.out_features + pairs + product
        return pixels * per_pixel + n_patches * self.num_classes * pairs

    def _clipped_patch(self, spatial: Sequence[int]) -> list[int]:
        return [min(self.patch, max(length, 2)) for length in spatial]


def _mean_product(P_O: Tensor, P_I: Tensor, P_E: Tensor) -> Tensor:
    """A_B (B, P, Nc, C * E) of eq. 2, with means, from patches of O, R and E (B, P, J, channels).

    The largest intermediate has as many channels at each pixel as the smaller of two outer products.
    """
    if P_I.shape[-1] < P_E.shape[-1]:
        classes_image = (P_I.unsqueeze(-1) * P_O.unsqueeze(-2)).flatten(-2)
        product = torch.matmul(classes_image.transpose(-1, -2), P_E)
        product = product.reshape(*P_I.shape[:2], P_I.shape[-1], P_O.shape[-1] * P_E.shape[-1])
    else:
        image_edges = (P_O.unsqueeze(-1) * P_E.unsqueeze(-2)).flatten(-2)
        product = torch.matmul(P_I.transpose(-1, -2), image_edges)
    return product / P_I.shape[2]
