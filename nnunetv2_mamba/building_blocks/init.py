"""The initialisation that VMamba gives to its linear maps."""

from torch import nn


def init_vss_weights(module: nn.Module) -> None:
    """Start a linear layer from a normal of deviation 0.02 cut at 2, without bias; for use with `nn.Module.apply`.

    Convolutions and the raw parameters of the scan keep their own start, and LayerNorm's default is the wanted one.
    Source: VMamba v0.
    """
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
