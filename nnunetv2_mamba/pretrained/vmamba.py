"""The names of VMamba v0: which of its tensors belongs to which tensor of our networks, and how to recognise v2."""

import re
from collections.abc import Mapping

from torch import Tensor

from nnunetv2_mamba.architectures._vss_unet import VSSUNet

V0_FILES = "vssmsmall_dp03_ckpt_epoch_238.pth or its twin vssmtiny_dp01_ckpt_epoch_292.pth of VMamba's release #v0cls"

# What follows the level in the names of both: norm and scan of a block. VMamba has no channel attention.
BLOCK = r"blocks\.\d+\.(?:ln_1|self_attention)\..+"
ENCODER = re.compile(
    rf"encoder\.((?:patch_embed\.(?:proj|norm)|layers\.\d+\.downsample\.(?:norm|reduction))\..+|layers\.\d+\.{BLOCK})"
)
DECODER = re.compile(rf"decoder\.layers\.(\d+)\.({BLOCK})")

V0_NAME = re.compile(rf"patch_embed\.proj\.weight|layers\.\d+\.{BLOCK}")
V2_NAME = re.compile(r"layers\.\d+\.blocks\.\d+\.(?:norm2?|op|mlp)\.|patch_embed\.\d+\.|layers\.\d+\.downsample\.\d+\.")


class WeightsError(ValueError):
    """Weights cannot be converted; the message names the file or network, what is wrong and what to do."""


def counterparts(network: VSSUNet) -> dict[str, str]:
    """Name in VMamba v0 of every tensor of a network that has one there.

    The encoder has VMamba's own names. A decoder stage takes the blocks of the encoder stage at the same level, as in
    VM-UNet (arXiv 2402.02491). Expanding layers, heads, channel attention and TCMA have no counterpart. Behind a
    convolutional stem, the patch embedding has no counterpart either.

    Args:
        network: VMUNet, S3Mamba or another network of their family.

    Returns:
        VMamba's names by the network's, in the network's order.
    """
    coarsest = len(network.encoder.layers) - 1
    names = {}
    for name in network.state_dict():
        if name.startswith("encoder.patch_embed.") and network.encoder.stem is not None:
            continue
        if match := ENCODER.fullmatch(name):
            names[name] = match[1]
        elif match := DECODER.fullmatch(name):
            names[name] = f"layers.{coarsest - int(match[1])}.{match[2]}"
    return names


def require_v0(state: Mapping[str, Tensor], file: str) -> None:
    """Check that a state dict is one of a VMamba v0 classifier.

    Args:
        state: tensors by VMamba's names.
        file: where they are from, for the message.

    Raises:
        WeightsError: it is from VMamba v2, whose blocks are built differently, or from another network.
    """
    for name, tensor in state.items():
        if V2_NAME.match(name) or (name.endswith(".A_logs") and tensor.shape[-1:] == (1,)):
            raise WeightsError(
                f"{file} is a VMamba v2 file ({name} {tuple(tensor.shape)}), whose blocks fit none of our networks: "
                f"get {V0_FILES}."
            )
    if not any(V0_NAME.match(name) for name in state):
        found = f"its first tensor is {next(iter(state))}" if state else "it has no tensors"
        raise WeightsError(f"{file} is not a VMamba classifier ({found}): get {V0_FILES}.")
