"""The lines of a summary."""

import pytest

from nnunetv2_mamba.evaluation.folder import Settings, evaluate_files
from nnunetv2_mamba.evaluation.presets import variations
from nnunetv2_mamba.evaluation.protocol import Protocol
from nnunetv2_mamba.evaluation.targets import Target
from nnunetv2_mamba.evaluation.text import lines_of, sensitivity_lines
from tests.evaluation.drawings import DrawingReader, cases_of

# Two components match the first lesion, the second is missed; there are two false positives.
DRAWINGS = {"a": ("111.1.....", "1.1...1..."), "b": ("..........", "1.........")}


def summary_of(folder, protocol, sensitivity=()):
    settings = Settings(DrawingReader(), [Target("spot", (1,))], protocol, sensitivity=sensitivity)
    return evaluate_files(cases_of(folder, DRAWINGS), settings).summary


@pytest.mark.parametrize(
    ("counts", "precision"),
    [("components", "0.500 (2 of 4 components)"), ("lesions", "0.333 (1 of 3 lesions and false positives)")],
)
def test_the_numbers_beside_recall_and_precision_give_them(tmp_path, counts, precision):
    lines = list(lines_of(summary_of(tmp_path, Protocol(precision_counts=counts))))
    assert lines[0].startswith(f"spot: recall 0.500 (1 of 2 lesions), precision {precision}, F1 0.")
    assert lines[0].endswith(", 2 false positives in 2 cases")
    assert "  1 case without a lesion, 1 of them with a false positive" in lines


def test_each_protocol_has_a_line(tmp_path):
    protocols = variations(Protocol())[:3]
    head, *lines, largest = sensitivity_lines(summary_of(tmp_path, Protocol(), protocols))
    assert head.split() == ["spot", "recall", "precision", "F1"]
    assert [line[:32].strip() for line in lines] == [protocol.name for protocol in protocols]
    assert largest.startswith("  largest difference")
