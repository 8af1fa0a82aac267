"""Blocks that networks are made of; this package knows `ops` and torch."""

from nnunetv2_mamba.building_blocks.drop_path import DropPath
from nnunetv2_mamba.building_blocks.enhanced_channel_feature import EnCFBlock
from nnunetv2_mamba.building_blocks.patches import FinalPatchExpand, PatchEmbed, PatchExpand, PatchMerging
from nnunetv2_mamba.building_blocks.ss2d import SSND
from nnunetv2_mamba.building_blocks.tcma import TCMA
from nnunetv2_mamba.building_blocks.vss_block import EnVSSBlock, VSSBlock
from nnunetv2_mamba.building_blocks.vss_decoder import VSSDecoder
from nnunetv2_mamba.building_blocks.vss_encoder import VSSEncoder

__all__ = [
    "SSND",
    "TCMA",
    "DropPath",
    "EnCFBlock",
    "EnVSSBlock",
    "FinalPatchExpand",
    "PatchEmbed",
    "PatchExpand",
    "PatchMerging",
    "VSSBlock",
    "VSSDecoder",
    "VSSEncoder",
]
