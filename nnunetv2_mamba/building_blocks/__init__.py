"""Blocks that networks are made of; this package knows `ops` and torch."""

from nnunetv2_mamba.building_blocks.conv_blocks import PlainConvBlock, ResidualConvBlock
from nnunetv2_mamba.building_blocks.conv_decoder import ConvDecoder
from nnunetv2_mamba.building_blocks.conv_encoder import ConvEncoder
from nnunetv2_mamba.building_blocks.drop_path import DropPath
from nnunetv2_mamba.building_blocks.enhanced_channel_feature import EnCFBlock
from nnunetv2_mamba.building_blocks.mamba import Mamba, MambaLayer, MambaTrans
from nnunetv2_mamba.building_blocks.patches import FinalPatchExpand, PatchEmbed, PatchExpand, PatchMerging
from nnunetv2_mamba.building_blocks.rfac import RFAC
from nnunetv2_mamba.building_blocks.ss2d import SSND
from nnunetv2_mamba.building_blocks.tcma import TCMA
from nnunetv2_mamba.building_blocks.vss_block import EnVSSBlock, RSSSBlock, VSSBlock
from nnunetv2_mamba.building_blocks.vss_decoder import VSSDecoder
from nnunetv2_mamba.building_blocks.vss_encoder import VSSEncoder

__all__ = [
    "RFAC",
    "SSND",
    "TCMA",
    "ConvDecoder",
    "ConvEncoder",
    "DropPath",
    "EnCFBlock",
    "EnVSSBlock",
    "FinalPatchExpand",
    "Mamba",
    "MambaLayer",
    "MambaTrans",
    "PatchEmbed",
    "PatchExpand",
    "PatchMerging",
    "PlainConvBlock",
    "RSSSBlock",
    "ResidualConvBlock",
    "VSSBlock",
    "VSSDecoder",
    "VSSEncoder",
]
