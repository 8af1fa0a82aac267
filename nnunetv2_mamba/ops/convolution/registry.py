"""The convolution's backends in order of preference."""

from collections.abc import Sequence

from nnunetv2_mamba.ops.backends import BackendRegistry, Call
from nnunetv2_mamba.ops.convolution.contract import ConvolutionBackend
from nnunetv2_mamba.ops.convolution.cpu import NumbaConvolution
from nnunetv2_mamba.ops.convolution.depthwise import DepthwiseConvolution
from nnunetv2_mamba.ops.convolution.package import PackageConvolution


def _first(call: Call) -> Sequence[str]:
    # The kernel of numba takes a vector of channels at once, and would have to transpose twice.
    return ("torch",) if call.device == "cpu" and not call.channels_last else ()


REGISTRY: BackendRegistry[ConvolutionBackend] = BackendRegistry(
    "causal_conv1d", [PackageConvolution(), NumbaConvolution(), DepthwiseConvolution()], first=_first
)
