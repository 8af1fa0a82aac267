"""What docs/evaluation.md says of metrics and protocols is what the code does."""

import dataclasses
from pathlib import Path

from nnunetv2_mamba.evaluation.metrics import METRICS, Metric
from nnunetv2_mamba.evaluation.presets import PRESETS
from nnunetv2_mamba.evaluation.protocol import Protocol

PAGE = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text()
EMPTINESS = ("both_empty", "reference_empty", "prediction_empty")


def row(metric: Metric) -> str:
    empty = [metric.empty[emptiness] for emptiness in EMPTINESS]
    texts = [
        "-"
        if value is None
        else f"`{value}`"
        if value == "missed_distance"
        else value
        if isinstance(value, str)
        else f"{value:g}"
        for value in empty
    ]
    unit = metric.unit.format(length="mm", size="mm^3")
    definition = metric.definition.replace("|", "\\|")
    return f"| `{metric.name}` | {definition} | {metric.direction or ''} | {unit} | {' | '.join(texts)} |"


def test_every_metric_is_defined_as_it_is_computed():
    table = PAGE.partition("<!-- metrics -->")[2].partition("<!-- end of metrics -->")[0].strip().splitlines()
    assert table[2:] == [row(metric) for metric in METRICS.values()]


def test_every_protocol_is_there():
    assert [name for name in PRESETS if f"`{name}`" not in PAGE] == []


def test_every_rule_is_there():
    rules = {entry.name for entry in dataclasses.fields(Protocol)} - {"name"}
    assert {rule for rule in rules if f"`{rule}`" not in PAGE} == set()
