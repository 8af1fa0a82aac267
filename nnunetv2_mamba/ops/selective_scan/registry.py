"""The scan's backends in order of preference."""

from nnunetv2_mamba.ops.backends import BackendRegistry
from nnunetv2_mamba.ops.selective_scan.reference import ReferenceBackend

REGISTRY = BackendRegistry("selective_scan", [ReferenceBackend()])
