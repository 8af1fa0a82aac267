"""The convolution's backends in order of preference."""

from collections.abc import Sequence

from nnunetv2_mamba.ops.backends import BackendRegistry, Call, publish
from nnunetv2_mamba.ops.convolution.backends.causal_conv1d import PackageConvolution
from nnunetv2_mamba.ops.convolution.backends.numba import NumbaConvolution
from nnunetv2_mamba.ops.convolution.backends.torch import DepthwiseConvolution
from nnunetv2_mamba.ops.convolution.contract import ConvolutionBackend


def _first(call: Call) -> Sequence[str]:
    # The kernel of numba takes a vector of channels at once, and would have to transpose twice.
    return ("torch",) if call.device == "cpu" and not call.channels_last else ()


REGISTRY: BackendRegistry[ConvolutionBackend] = publish(
    BackendRegistry("causal_conv1d", [PackageConvolution(), NumbaConvolution(), DepthwiseConvolution()], first=_first)
)
