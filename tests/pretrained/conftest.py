"""Checkpoints with the names and shapes of VMamba's, and a dataset for which networks can be built."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nnunetv2_mamba.architectures import S3Mamba, SAUMamba, VMUNet

DEPTHS = {"small": (2, 2, 27, 2), "tiny": (2, 2, 9, 2)}
DIMS = (96, 192, 384, 768)
TOY_DIMS = (8, 16, 32, 64)


def v0_shapes(depths: Sequence[int], dims: Sequence[int] = DIMS, d_state: int = 16) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "patch_embed.proj.weight": (dims[0], 3, 4, 4),
        "patch_embed.proj.bias": (dims[0],),
        "patch_embed.norm.weight": (dims[0],),
        "patch_embed.norm.bias": (dims[0],),
    }
    for level, (depth, width) in enumerate(zip(depths, dims, strict=True)):
        inner, rank = 2 * width, math.ceil(width / 16)
        block = {
            "ln_1.weight": (width,),
            "ln_1.bias": (width,),
            "self_attention.x_proj_weight": (4, rank + 2 * d_state, inner),
            "self_attention.dt_projs_weight": (4, inner, rank),
            "self_attention.dt_projs_bias": (4, inner),
            "self_attention.A_logs": (4 * inner, d_state),
            "self_attention.Ds": (4 * inner,),
            "self_attention.in_proj.weight": (2 * inner, width),
            "self_attention.conv2d.weight": (inner, 1, 3, 3),
            "self_attention.conv2d.bias": (inner,),
            "self_attention.out_norm.weight": (inner,),
            "self_attention.out_norm.bias": (inner,),
            "self_attention.out_proj.weight": (width, inner),
        }
        shapes |= {f"layers.{level}.blocks.{j}.{name}": shape for j in range(depth) for name, shape in block.items()}
        if level < 3:
            shapes[f"layers.{level}.downsample.norm.weight"] = (4 * width,)
            shapes[f"layers.{level}.downsample.norm.bias"] = (4 * width,)
            shapes[f"layers.{level}.downsample.reduction.weight"] = (2 * width, 4 * width)
    return shapes | {
        "norm.weight": dims[3:],
        "norm.bias": dims[3:],
        "head.weight": (1000, dims[3]),
        "head.bias": (1000,),
    }


def numbered(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Each tensor full of a number of its own, of which a file holds one element."""
    return {name: torch.tensor(float(i)).expand(shape) for i, (name, shape) in enumerate(shapes.items(), 1)}


def random_v0(seed: int = 0) -> dict[str, Tensor]:
    """A small classifier with plausible values in double precision: decays of all speeds, norms around 1."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in v0_shapes((1, 1, 1, 1), TOY_DIMS, d_state=4).items():
        state[name] = 0.3 * torch.randn(shape, generator=generator, dtype=torch.float64)
        if name.endswith(("norm.weight", "ln_1.weight", "Ds")):
            state[name] += 1
    return state


@pytest.fixture(scope="session")
def small() -> dict[str, Tensor]:
    """VMamba-S v0."""
    return numbered(v0_shapes(DEPTHS["small"]))


@pytest.fixture(scope="session")
def tiny() -> dict[str, Tensor]:
    """VMamba-T v0."""
    return numbered(v0_shapes(DEPTHS["tiny"]))


@pytest.fixture
def toy() -> dict[str, Tensor]:
    """A classifier as wide as the networks of `dataset`."""
    return numbered(v0_shapes((2, 2, 5, 2), TOY_DIMS))


@pytest.fixture(scope="session")
def vmunet() -> VMUNet:
    """VM-UNet as our trainer builds it."""
    return VMUNet(3, 2, side_heads=True)


@pytest.fixture(scope="session")
def s3mamba() -> S3Mamba:
    """S3-Mamba as our trainer builds it."""
    return S3Mamba(3, 2)


@pytest.fixture(scope="session")
def saumamba() -> SAUMamba:
    """SA-UMamba as our trainer builds it."""
    return SAUMamba(3, 2, side_heads=True)


@pytest.fixture
def classifier() -> dict[str, Tensor]:
    """Random weights as wide as the networks of `twins`."""
    return random_v0()


@pytest.fixture
def twins() -> Callable[..., tuple[VMUNet, VMUNet]]:
    """Call with the patch size and merging strides along z: small 2-D and 3-D networks, in double precision."""

    def make(depth: int = 1, merges: Sequence[int] = (1, 1, 1)) -> tuple[VMUNet, VMUNet]:
        blocks = {
            "n_blocks_per_stage": 1,
            "n_blocks_per_stage_decoder": 1,
            "d_state": 4,
            "features_per_stage": TOY_DIMS,
        }
        strides = ((1, 1, 1), (depth, 4, 4), *((merge, 2, 2) for merge in merges))
        flat, deep = VMUNet(3, 2, **blocks), VMUNet(3, 2, strides=strides, conv_op=nn.Conv3d, **blocks)
        return flat.double().eval(), deep.double().eval()

    return make


def architecture(dim: int, **kwargs: object) -> dict:
    strides = [[1] * dim, [4] * dim, [2] * dim, [2] * dim, [2] * dim]
    arch_kwargs = {
        "features_per_stage": list(TOY_DIMS),
        "strides": strides,
        "conv_op": f"torch.nn.modules.conv.Conv{dim}d",
        "side_heads": True,
        **kwargs,
    }
    return {
        "network_class_name": "nnunetv2_mamba.architectures.VMUNet",
        "arch_kwargs": arch_kwargs,
        "_kw_requires_import": ["conv_op"],
    }


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Preprocessed folder of dataset 902, whose plans name toy networks in 2D and 3D and one of nnU-Net's own."""
    for folder in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"nnUNet_{folder}", str(tmp_path / folder))
    folder = tmp_path / "preprocessed" / "Dataset902_Toy"
    folder.mkdir(parents=True)
    stock = {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {
            "n_stages": 2,
            "features_per_stage": [4, 8],
            "strides": [[1, 1], [2, 2]],
            "kernel_sizes": [3, 3],
            "n_conv_per_stage": [1, 1],
            "n_conv_per_stage_decoder": [1],
            "conv_op": "torch.nn.modules.conv.Conv2d",
        },
        "_kw_requires_import": ["conv_op"],
    }
    plans = {
        "dataset_name": folder.name,
        "plans_name": "nnUNetPlans",
        "label_manager": "LabelManager",
        "configurations": {
            "2d": {"architecture": architecture(2)},
            "merges_rows_only": {
                "architecture": architecture(2, strides=[[1, 1], [4, 4], [2, 2], [2, 1], [2, 2]]),
            },
            "wide": {"architecture": architecture(2, features_per_stage=[12, 24, 48, 96])},
            "3d_fullres": {"architecture": architecture(3)},
            "3d_cascade_fullres": {"architecture": architecture(3), "previous_stage": "3d_lowres"},
            "stock": {"architecture": stock},
        },
    }
    (folder / "nnUNetPlans.json").write_text(json.dumps(plans))
    dataset_json = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "organ": 1, "lesion": 2}}
    (folder / "dataset.json").write_text(json.dumps(dataset_json))
    return folder
