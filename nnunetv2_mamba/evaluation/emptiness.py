"""Which masks of a case are empty, and the metrics of one case."""

from collections.abc import Mapping

import numpy as np

from nnunetv2_mamba.evaluation.metrics import METRICS, Counts, pooled
from nnunetv2_mamba.evaluation.protocol import Emptiness, Protocol


def emptiness_of(reference: float, prediction: float) -> Emptiness:
    """Which of reference and prediction are empty, from how much there is in each."""
    if not reference and not prediction:
        return "both_empty"
    if not reference:
        return "reference_empty"
    return "neither_empty" if prediction else "prediction_empty"


def metrics_of_case(counts: Counts, surface: Mapping[str, float], protocol: Protocol) -> dict[str, float]:
    """Every metric of one case, NaN where it is not defined.

    Args:
        counts: of the case.
        surface: measured values of the metrics without a formula; empty where one of the masks is.
        protocol: the rules of the counts.
    """
    computed = {**pooled(counts, protocol), **surface}
    masks = emptiness_of(counts["TP"] + counts["FN"], counts["TP"] + counts["FP"])
    lesions = emptiness_of(counts["lesions"], counts["components"])
    return {
        name: metric.in_case(
            float(computed.get(name, np.nan)), lesions if metric.scope == "lesions" else masks, protocol
        )
        for name, metric in METRICS.items()
    }


def require_known_metrics(protocol: Protocol) -> None:
    """Refuse a protocol that sets a value for an unknown metric.

    Raises:
        ValueError: the protocol names such a metric.
    """
    if unknown := [name for name, _, _ in protocol.empty_values if name not in METRICS]:
        raise ValueError(f"empty_values names the metric {unknown[0]!r}, which is none of {', '.join(METRICS)}.")
