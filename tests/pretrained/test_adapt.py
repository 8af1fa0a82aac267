"""The laws that adapted tensors obey."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nnunetv2_mamba.architectures import VMUNet
from nnunetv2_mamba.building_blocks.patches import PatchEmbed
from nnunetv2_mamba.building_blocks.ss2d import SSND
from nnunetv2_mamba.ops.scan.orders import cyclic_axis_orders, visiting_orders
from nnunetv2_mamba.pretrained.adapt import inflate_directions, resize_patch, stem_channels
from nnunetv2_mamba.pretrained.transfer import transfer

Z_DIRECTIONS = (2, 5)


def integers(*shape: int) -> torch.Tensor:
    """Whole numbers, whose sums and products float32 holds exactly."""
    return torch.randint(-8, 9, shape, generator=torch.Generator().manual_seed(len(shape))).float()


def embed_with(kernel: torch.Tensor) -> PatchEmbed:
    conv_op = nn.Conv2d if kernel.ndim == 4 else nn.Conv3d
    embed = PatchEmbed(kernel.shape[1], kernel.shape[0], kernel.shape[2:], conv_op=conv_op).to(kernel.dtype)
    with torch.no_grad():
        embed.proj.weight.copy_(kernel)
        embed.proj.bias.copy_(torch.arange(kernel.shape[0]))
    return embed


def loaded(network: VMUNet, source: dict) -> VMUNet:
    state, report = transfer(source, network)
    assert report.coverage == 1
    network.load_state_dict(state)
    return network


def scans(network: VMUNet) -> list[SSND]:
    return [module for module in network.modules() if isinstance(module, SSND)]


@torch.no_grad()
def keep_directions(scan: SSND, kept: set[int]) -> None:
    """Silence the other directions: what they read from their state and from their input is zero."""
    for direction in set(range(scan.directions)) - kept:
        scan.x_proj_weight[direction, -scan.d_state :] = 0
        scan.Ds.view(scan.directions, -1)[direction] = 0


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_an_image_in_every_channel_is_a_grey_image_to_vmamba(channels):
    kernel = integers(16, 3, 4, 4)
    grey = integers(2, 1, 8, 12)
    wanted = embed_with(kernel)(grey.expand(-1, 3, -1, -1))
    # Sums of 3 / n times whole numbers are exact for all of these n.
    assert torch.equal(embed_with(stem_channels(kernel, channels))(grey.expand(-1, channels, -1, -1)), wanted)


def test_three_channels_are_taken_as_they_are():
    kernel = integers(16, 3, 4, 4)
    assert stem_channels(kernel, 3) is kernel


def test_masks_of_a_cascade_are_not_seen_at_first(toy):
    network = VMUNet(3, 3, (8, 16, 32, 64))
    state, report = transfer(toy, network, image_channels=1)
    stem = state["encoder.patch_embed.proj.weight"]
    assert torch.all(stem[:, :1] == 3 * toy["patch_embed.proj.weight"][0, 0, 0, 0])
    assert torch.all(stem[:, 1:] == 0)
    assert report.adapted.keys() == {"encoder.patch_embed.proj.weight"}


@pytest.mark.parametrize("patch", [(8, 8), (4, 8), (6, 5)])
def test_a_larger_patch_sees_an_enlarged_image_as_vmamba_the_original(patch):
    kernel, image = (integers(*shape).double() for shape in ((16, 3, 4, 4), (2, 3, 4, 4)))
    enlarged = F.interpolate(image, patch, mode="bilinear")
    tokens = embed_with(resize_patch(kernel, patch))(enlarged)
    torch.testing.assert_close(tokens, embed_with(kernel)(image), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("patch", [(2, 2), (4, 2), (1, 4), (1, 1), (3, 3), (8, 2)])
def test_any_patch_sees_a_plain_area_as_vmamba_does(patch):
    kernel, colour = integers(16, 3, 4, 4).double(), integers(2, 3, 1, 1).double()
    tokens = embed_with(resize_patch(kernel, patch))(colour.expand(-1, -1, *patch))
    wanted = embed_with(kernel)(colour.expand(-1, -1, 4, 4))
    torch.testing.assert_close(tokens, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_inflated_patches_of_a_volume_constant_along_z_are_those_of_its_slice(twins, classifier, depth):
    flat, deep = (loaded(network, classifier) for network in twins(depth))
    image = torch.randn(2, 3, 8, 12, dtype=torch.float64)
    volume = image.unsqueeze(2).expand(-1, -1, 3 * depth, -1, -1)
    tokens = deep.encoder.patch_embed(volume)
    wanted = flat.encoder.patch_embed(image).unsqueeze(1).expand(-1, 3, -1, -1, -1)
    torch.testing.assert_close(tokens, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("depth", [1, 2])
def test_inflated_merging_of_a_volume_constant_along_z_is_that_of_its_slice(twins, classifier, depth):
    flat, deep = (loaded(network, classifier) for network in twins(1, (depth, depth, depth)))
    for level, width in enumerate((8, 16, 32)):
        tokens = torch.randn(2, 4, 6, width, dtype=torch.float64)
        volume = tokens.unsqueeze(1).expand(-1, 4, -1, -1, -1)
        merged = deep.encoder.layers[level].downsample(volume)
        wanted = flat.encoder.layers[level].downsample(tokens).unsqueeze(1).expand(-1, 4 // depth, -1, -1, -1)
        torch.testing.assert_close(merged, wanted, rtol=1e-12, atol=1e-12)


def test_the_inflated_depthwise_convolution_works_slice_by_slice_on_any_volume(twins, classifier):
    flat, deep = (loaded(network, classifier) for network in twins())
    volume = torch.randn(2, 16, 5, 6, 7, dtype=torch.float64)
    convolved = scans(deep)[0].conv2d(volume)
    for z in range(5):
        torch.testing.assert_close(convolved[:, :, z], scans(flat)[0].conv2d(volume[:, :, z]), rtol=1e-12, atol=1e-12)


def test_directions_walk_a_single_slice_as_vmambas_walk_an_image():
    image = visiting_orders((5, 7), cyclic_axis_orders(2), 4)
    volume = visiting_orders((1, 5, 7), cyclic_axis_orders(3), 6)
    source = inflate_directions(torch.arange(4)).tolist()
    assert source == [0, 1, 1, 2, 3, 3]
    for direction in set(range(6)) - set(Z_DIRECTIONS):
        assert torch.equal(volume[direction], image[source[direction]])
    # Walks along z meet the slice row by row, with the parameters of those along y.
    assert [source[direction] for direction in Z_DIRECTIONS] == [1, 3]
    assert torch.equal(volume[2], image[0])


@torch.no_grad()
def test_an_inflated_encoder_without_its_walks_along_z_is_the_2d_one_on_a_single_slice(twins, classifier):
    flat, deep = (loaded(network, classifier) for network in twins())
    image = torch.randn(2, 3, 64, 32, dtype=torch.float64)
    wanted = flat.encoder(image)
    with_z = deep.encoder(image.unsqueeze(2))
    for scan in scans(deep):
        keep_directions(scan, {0, 1, 3, 4})
    without_z = deep.encoder(image.unsqueeze(2))
    for kind in ("skips", "features"):
        for level in range(4):
            ours, theirs = (getattr(encoded, kind)[level] for encoded in (without_z, wanted))
            torch.testing.assert_close(ours.squeeze(1), theirs, rtol=1e-9, atol=1e-9)
    # The walks along z are two more terms of the sum: with them even a single slice is seen differently.
    assert not torch.allclose(with_z.features[0].squeeze(1), wanted.features[0], rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_walks_carry_their_state_from_slice_to_slice(twins, classifier):
    flat, deep = (scans(loaded(network, classifier))[0] for network in twins())
    for scan in (flat, deep):
        keep_directions(scan, {0})
    slice_ = torch.randn(1, 5, 6, 16, dtype=torch.float64)
    wanted, volume = flat.mix(slice_), deep.mix(slice_.unsqueeze(1).expand(-1, 3, -1, -1, -1).contiguous())
    torch.testing.assert_close(volume[:, 0], wanted, rtol=1e-9, atol=1e-9)
    assert not torch.allclose(volume[:, 1], wanted, rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_the_published_widths_inflate(small):
    network = VMUNet(1, 2, conv_op=nn.Conv3d, strides=(1, (1, 4, 4), (1, 2, 2), 2, 2))
    state, report = transfer(small, network)
    assert (report.loaded_tensors("encoder"), report.loaded_tensors("decoder"), report.coverage) == (117, 91, 1)
    # The stem's kernel; three tensors a merging; a block's five that lead with directions and its convolution.
    assert len(report.adapted) == 1 + 9 + 15 * 6
    assert state.keys() == network.state_dict().keys()
    assert all(tensor.shape == network.state_dict()[name].shape for name, tensor in state.items())
