"""Results that earlier versions have written, in the words of this one."""

from collections.abc import Mapping
from typing import Any

from nnunetv2_mamba.evaluation.metrics import METRICS
from nnunetv2_mamba.evaluation.protocol import EARLIER_METRICS, Protocol

_COUNTS = {
    "found": "true_positive_lesions",
    "right": "true_positive_components",
    "invented_volume": "false_positive_volume",
}
_LESION_FREE = {"with_inventions": "with_false_positives"}
_STATUSES = {"found": "true_positive", "right": "true_positive", "invented": "false_positive"}


def summary_of_format_1(summary: Mapping[str, Any]) -> dict[str, Any]:
    """A summary of format 1 with the keys of format 2.

    Args:
        summary: content of ``lesion_summary.json``.
    """
    protocol = Protocol.from_dict(summary["protocol"])
    return {
        **summary,
        "format": 2,
        "protocol": protocol.as_dict(),
        "metrics": {
            name: METRICS[name].as_dict(summary["unit"], summary["dimensions"], protocol)
            for name in _renamed(summary["metrics"], EARLIER_METRICS)
        },
        "targets": {name: _target(entry) for name, entry in summary["targets"].items()},
        "cases": [{**case, "targets": _counted(case["targets"])} for case in summary["cases"]],
        "sensitivity": [{**entry, "targets": _counted(entry["targets"])} for entry in summary.get("sensitivity") or ()]
        or None,
    }


def status_of_format_1(status: str) -> str:
    """The status of a lesion or component in a row of ``lesions.csv``."""
    return _STATUSES.get(status, status)


def _target(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **_counted_one(entry),
        "lesion_free": _renamed(entry["lesion_free"], _LESION_FREE),
        "strata": [_counted_one(group) for group in entry["strata"]],
        "froc": None if entry.get("froc") is None else _renamed(entry["froc"], _COUNTS),
    }


def _counted(targets: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _counted_one(entry) for name, entry in targets.items()}


def _counted_one(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry whose counts and metrics have the names of this version; the names of targets are left alone."""
    names = dict.fromkeys(("pooled", "mean", "defined", "metrics"), EARLIER_METRICS) | {"counts": _COUNTS}
    return {key: _renamed(value, names[key]) if key in names else value for key, value in entry.items()}


def _renamed(values: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(key, key): value for key, value in values.items()}
