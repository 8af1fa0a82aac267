"""When backends made of compiled CPU kernels can serve."""

import importlib

import torch

from nnunetv2_mamba.ops.backends import Call
from nnunetv2_mamba.ops.passing import remedy_if_passing


class CompiledForTheCpu:
    """Base of the backends `numba`: compiled on the user's machine at the first call, then kept on disk."""

    name = "numba"

    def unavailable(self, device: str) -> str | None:
        """It runs on the CPU and needs a numba that imports."""
        if device != "cpu":
            return f"it runs on the cpu, not on {device}"
        try:
            importlib.import_module("numba")
        except (ImportError, OSError) as error:
            if remedy_if_passing(error):
                raise
            return f"numba does not import: {error}"
        return None

    def unsupported(self, call: Call) -> str | None:
        """It computes in float32 only."""
        return "it computes in float32, not in float64" if call.dtype == torch.float64 else None
