"""TCMA over all levels: sizes, scaling and the feedback that starts at zero."""

import pytest
import torch
from torch import nn

from nnunetv2_mamba.building_blocks import TCMA
from nnunetv2_mamba.building_blocks.tcma import EdgeStem, ImageStem

STRIDES = ((1, 1), (4, 4), (2, 2))
WIDTHS = (8, 16)


def make_tcma(num_classes: int = 3, **arguments) -> TCMA:
    torch.manual_seed(0)
    return TCMA(2, num_classes, WIDTHS, strides=STRIDES, **arguments)


def inputs(*spatial: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
    torch.manual_seed(1)
    tokens = [torch.randn(2, *(size // stride for size in spatial), width) for stride, width in ((4, 8), (8, 16))]
    return torch.randn(2, 2, *spatial), tokens


@pytest.mark.parametrize(
    ("input_channels", "num_classes", "size"), [(3, 1, 71_624), (3, 2, 76_720), (1, 4, 85_984)], ids=str
)
def test_size(input_channels, num_classes, size):
    widths, strides = (96, 192, 384, 768), ((1, 1), (4, 4), (2, 2), (2, 2), (2, 2))
    tcma = TCMA(input_channels, num_classes, widths, strides=strides)
    assert sum(parameter.numel() for parameter in tcma.parameters()) == size + 4 * num_classes


def test_attention_has_the_size_of_its_gain():
    tcma = make_tcma()
    for level in tcma.seg_layers:
        level.gain.data.copy_(torch.tensor([1.0, 2.0, 0.5]))
    image, features = inputs(32, 48)
    for attention, tokens in zip(tcma(image, features), features, strict=True):
        assert attention.shape == (2, 3, *tokens.shape[1:3])
        root_mean_square = attention.square().mean((2, 3)).sqrt()
        torch.testing.assert_close(root_mean_square, torch.tensor([[1.0, 2.0, 0.5]] * 2), rtol=0.02, atol=0)


def test_each_scale_counts():
    tcma = make_tcma().eval()
    image, features = inputs(32, 48)
    before = tcma(image, features)[0]
    for scale in range(3):
        changed = make_tcma().eval()
        changed.load_state_dict(tcma.state_dict())
        changed.seg_layers[0].scales[scale].fc2.bias.data.uniform_(-3, 3)
        assert (changed(image, features)[0] - before).abs().max() > 1e-3


def test_feedback_starts_at_zero_and_learns_at_once():
    tcma = make_tcma()
    image, features = inputs(32, 32)
    attention = tcma(image, features)[0]
    x = torch.randn(2, 8, 8, 8)
    tuned, mask = tcma.modulate(0, x, attention)
    assert torch.equal(tuned, x)
    torch.testing.assert_close(mask, attention * tcma.seg_layers[0].mask_conv(x.movedim(-1, 1)))
    tuned.square().sum().backward()
    assert tcma.seg_layers[0].feedback.weight.grad.abs().max() > 0


def test_flat_image_is_finite():
    tcma = make_tcma()
    image, features = torch.zeros(2, 2, 8, 8), [torch.zeros(2, 2, 2, 8), torch.zeros(2, 1, 1, 16)]
    attention = tcma(image, features)
    sum(a.sum() for a in attention).backward()
    assert all(a.isfinite().all() for a in attention)
    assert all(p.grad is None or p.grad.isfinite().all() for p in tcma.parameters())


@pytest.mark.parametrize("stride", [(1, 4), (4, 4), (8, 2), (3, 6)], ids=str)
def test_image_stem_lands_on_the_tokens(stride):
    size = [5 * step for step in stride]
    assert ImageStem(1, 4, stride, conv_op=nn.Conv2d)(torch.randn(1, 1, *size)).shape == (1, 4, 5, 5)


@pytest.mark.parametrize(("conv_op", "stride"), [(nn.Conv2d, (4, 2)), (nn.Conv3d, (1, 4, 2))], ids=["2d", "3d"])
def test_edges_are_the_mean_of_full_resolution(conv_op, stride):
    torch.manual_seed(0)
    stem = EdgeStem(2, 4, stride, conv_op=conv_op, spacing=None).double()
    image = torch.randn(2, 2, *(8,) * len(stride)).double()
    for parameter in stem.parameters():
        nn.init.normal_(parameter)
    sobel, convolution, norm = stem
    full = norm(convolution(sobel(image)))
    pool = {2: nn.functional.avg_pool2d, 3: nn.functional.avg_pool3d}[len(stride)]
    torch.testing.assert_close(stem(image), pool(full, stride))


def test_edges_are_measured_in_the_spacing():
    """A step along the coarse axis is as faint as it is in mm, and both kinds of TCMA share their weights."""
    isotropic, anisotropic = (make_tcma(spacing=spacing).edge_stem[0] for spacing in (None, (4, 1)))
    ramps = torch.stack([torch.arange(8.0)[:, None].expand(8, 8), torch.arange(8.0).expand(8, 8)])[None]
    inside = (..., slice(1, -1), slice(1, -1))
    torch.testing.assert_close(isotropic(ramps)[inside].mean((0, 2, 3)), torch.tensor([1.0, 1.0]))
    torch.testing.assert_close(anisotropic(ramps)[inside].mean((0, 2, 3)), torch.tensor([0.25, 1.0]), rtol=1e-4, atol=0)
    assert make_tcma(spacing=(4, 1)).state_dict().keys() == make_tcma().state_dict().keys()


def test_a_scale_is_clipped_to_a_thin_axis():
    """A token acts on all of a thin axis, and along the others within its patch."""
    scale = TCMA(1, 2, (4,), strides=((1, 1, 1), (1, 4, 4)), conv_op=nn.Conv3d).seg_layers[0].scales[-1].double().eval()
    torch.manual_seed(0)
    image, classes, edges = (torch.randn(1, channels, 3, 16, 24).double() for channels in (8, 2, 8))
    moved = image.clone()
    moved[:, :, 1, 10, 20] += 1
    changed = (scale(moved, classes, edges) - scale(image, classes, edges)).abs().amax((0, 1)) > 1e-14
    inside = torch.zeros(3, 16, 24, dtype=torch.bool)
    inside[:, 8:16, 16:24] = True
    assert torch.equal(changed, inside)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_small_object_on_a_flat_image_stays_in_range(dtype):
    """Instance norm makes its few pixels as large as the image is wide, and three such factors are multiplied."""
    tcma = make_tcma()
    image = torch.zeros(1, 2, 512, 512)
    image[:, :, 130:134, 90:94] = 5
    features = [torch.randn(1, 128 // 2**level, 128 // 2**level, 8 * 2**level) * 10 for level in range(2)]
    with torch.autocast("cpu", dtype):
        attention = tcma(image, features)
    exact = tcma(image, features)
    for rounded, other in zip(attention, exact, strict=True):
        assert rounded.isfinite().all()
        similarity = torch.cosine_similarity(rounded.flatten(), other.flatten(), dim=0)
        assert similarity > 0.99
    sum(a.sum() for a in attention).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in tcma.parameters())
