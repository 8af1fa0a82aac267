"""The token mixers that a VSS block can have, by name."""

from nnunetv2_mamba.building_blocks.gated_mixer import GatedConvolution, GatedIdentity, GatedMixer
from nnunetv2_mamba.building_blocks.ss2d import SSND

MIXERS: dict[str, type[GatedMixer]] = {"scan": SSND, "identity": GatedIdentity, "convolution": GatedConvolution}
"""The scan, and the two controls that say what a network gains by it."""


def find_mixer(name: str) -> type[GatedMixer]:
    """The class of a mixer.

    Args:
        name: one of `MIXERS`.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in MIXERS:
        raise ValueError(f"mixer is {name!r}; use one of {', '.join(map(repr, MIXERS))}")
    return MIXERS[name]
