"""S3-Mamba's Enhanced Channel Feature block."""

from torch import Tensor, nn
from torch.nn import functional as F


class EnCFBlock(nn.Module):
    """Channel attention with a residual: u * sigmoid(fc2(relu(fc1(mean of u over space)))) + u.

    The mean is taken per sample, so the block works with any batch size; under nnU-Net's sliding window it is the mean
    of one patch. Source: S3-Mamba, arXiv 2412.14546, "Enhanced Visual State Space Block"; reduction 16 is that of
    squeeze-and-excitation (arXiv 1709.01507), which the paper refers to without a number.

    Args:
        channels: C, width of input and output.
        reduction: the hidden layer has C // reduction channels, at least one.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.channels = channels
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, u: Tensor) -> Tensor:
        """Reweight the channels of the tokens u (B, *spatial, C); same shape out."""
        return u * self.factor(u)

    def factor(self, u: Tensor) -> Tensor:
        """Factor of the channels of u (B, *spatial, C), as (B, 1, ..., C): the gate, plus 1 for the residual."""
        squeezed = u.mean(dim=tuple(range(1, u.ndim - 1)), keepdim=True)
        return 1 + self.fc2(F.relu(self.fc1(squeezed))).sigmoid()

    def compute_conv_feature_map_size(self, tokens: int) -> int:
        """Feature-map elements kept for the backward pass of one sample of so many tokens."""
        return tokens * self.channels
