"""The scan's backends in order of preference."""

from nnunetv2_mamba.ops.backends import BackendRegistry
from nnunetv2_mamba.ops.scan.chunked import ChunkedBackend
from nnunetv2_mamba.ops.scan.contract import ScanBackend
from nnunetv2_mamba.ops.scan.cpu import NumbaBackend
from nnunetv2_mamba.ops.scan.mamba_ssm_backend import MambaSsmBackend
from nnunetv2_mamba.ops.scan.reference import ReferenceBackend
from nnunetv2_mamba.ops.scan.triton_backend import TritonBackend

REGISTRY: BackendRegistry[ScanBackend] = BackendRegistry(
    "selective_scan", [MambaSsmBackend(), NumbaBackend(), TritonBackend(), ChunkedBackend(), ReferenceBackend()]
)
