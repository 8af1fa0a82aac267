"""Lesion-wise evaluation: numpy in, numbers out; knows neither torch nor nnunetv2."""

from nnunetv2_mamba.evaluation.case import Comparison, compare
from nnunetv2_mamba.evaluation.metrics import METRICS
from nnunetv2_mamba.evaluation.presets import PRESETS
from nnunetv2_mamba.evaluation.protocol import Protocol, Strata

__all__ = ["METRICS", "PRESETS", "Comparison", "Protocol", "Strata", "compare"]
