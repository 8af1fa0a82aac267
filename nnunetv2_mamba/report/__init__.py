"""One page about one or several models: what they found, what they missed and invented, and how sure that is."""

from nnunetv2_mamba.report.page import write_report
from nnunetv2_mamba.report.source import Source

__all__ = ["Source", "write_report"]
