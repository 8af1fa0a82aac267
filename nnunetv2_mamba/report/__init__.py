"""One HTML page about one or several models: lesion-wise metrics, intervals, tests and pictures."""

from nnunetv2_mamba.report.page import write_report
from nnunetv2_mamba.report.reported_model import ReportedModel

__all__ = ["ReportedModel", "write_report"]
