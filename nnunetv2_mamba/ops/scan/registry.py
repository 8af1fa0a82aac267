"""The scan's backends in order of preference."""

from nnunetv2_mamba.ops.backends import BackendRegistry, publish
from nnunetv2_mamba.ops.scan.backends.mamba_ssm import MambaSsmBackend
from nnunetv2_mamba.ops.scan.backends.numba import NumbaBackend
from nnunetv2_mamba.ops.scan.backends.reference import ReferenceBackend
from nnunetv2_mamba.ops.scan.backends.torch import ChunkedBackend
from nnunetv2_mamba.ops.scan.backends.triton import TritonBackend
from nnunetv2_mamba.ops.scan.contract import ScanBackend

TIMES_AS_LONG = {"cpu": 20, "cuda": 6}
"""Plain PyTorch takes more than so many times as long as our kernel for a device, in every measured case, forward and
with backward (docs/performance.md)."""

REGISTRY: BackendRegistry[ScanBackend] = publish(
    BackendRegistry(
        "selective_scan",
        # With mamba_ssm a step of S3-Mamba takes twice as long as with triton: it copies a sequence for each direction.
        [NumbaBackend(), TritonBackend(), MambaSsmBackend(), ChunkedBackend(), ReferenceBackend()],
        # Nothing is faster than torch elsewhere, as on an Apple GPU.
        slow={"cpu": ("torch", "reference"), "cuda": ("torch", "reference"), "mps": ("reference",)},
        slowness="more than {cpu} times as long as a kernel on the CPU, {cuda} on a GPU".format(**TIMES_AS_LONG),
    )
)
