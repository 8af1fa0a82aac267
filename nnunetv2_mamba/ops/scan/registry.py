"""The scan's backends in order of preference."""

from nnunetv2_mamba.ops.backends import BackendRegistry, publish
from nnunetv2_mamba.ops.scan.backends.mamba_ssm import MambaSsmBackend
from nnunetv2_mamba.ops.scan.backends.numba import NumbaBackend
from nnunetv2_mamba.ops.scan.backends.reference import ReferenceBackend
from nnunetv2_mamba.ops.scan.backends.torch import ChunkedBackend
from nnunetv2_mamba.ops.scan.backends.triton import TritonBackend
from nnunetv2_mamba.ops.scan.contract import ScanBackend

TIMES_AS_LONG = 20
"""Plain PyTorch takes more than so many times as long as the kernel, in every measured case, forward and with backward.
On the CPU, that is (docs/performance.md); on a GPU it has not been measured."""

REGISTRY: BackendRegistry[ScanBackend] = publish(
    BackendRegistry(
        "selective_scan",
        [MambaSsmBackend(), NumbaBackend(), TritonBackend(), ChunkedBackend(), ReferenceBackend()],
        # Nothing is faster than torch elsewhere, as on an Apple GPU.
        slow={"cpu": ("torch", "reference"), "cuda": ("torch", "reference"), "mps": ("reference",)},
        slowness=f"more than {TIMES_AS_LONG} times as long as a kernel (measured on the CPU, not on a GPU)",
    )
)
