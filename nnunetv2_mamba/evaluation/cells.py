"""Earlier place of `nnunetv2_mamba.evaluation.emptiness`."""

from nnunetv2_mamba.evaluation.emptiness import require_known_metrics

__all__ = ["require_known_metrics"]
