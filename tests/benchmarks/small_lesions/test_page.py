"""The page of results shows what is kept, and keeps what is written by hand."""

import json
from pathlib import Path

from PIL import Image

from benchmarks.small_lesions import page, report
from benchmarks.small_lesions.runs import RESULTS, ROOT, Run
from benchmarks.small_lesions.scoring import THRESHOLDS


def keep(
    results: Path, trainer: str, seed: int, detected: str, false_positives: int, seconds: float = 2.0, gpu: str = ""
) -> None:
    """A training on two images, with a lesion of 4 and one of 90 pixels in each, and equal counts at all thresholds."""
    thresholds = len(THRESHOLDS)
    score = {"voxels": [4, 90], "detected": [detected] * thresholds, "false_positives": [false_positives] * thresholds}
    score |= {"TP": 50, "FP": 25, "FN": 25, "nsd": 0.5}
    cases = {name: {"group": name, "classes": {"lesion": score}} for name in ("a", "b")}
    run = Run("toy", "explore", "short", trainer, seed)
    content = {"run": vars(run), "cases": cases, "patch_size": [8, 8], "train_cpu_seconds": seconds}
    content["machine"] = {"gpu": gpu} if gpu else {}
    run.file(results).parent.mkdir(parents=True, exist_ok=True)
    run.file(results).write_text(json.dumps(content))


def test_tables_show_the_mean_over_seeds_and_their_spread(tmp_path):
    keep(tmp_path, "nnUNetTrainer", 0, detected="3", false_positives=1)
    keep(tmp_path, "nnUNetTrainer", 1, detected="2", false_positives=1)
    keep(tmp_path, "Other", 0, detected="1", false_positives=1)
    text = report.render(tmp_path, question="explore", budget="short", columns=("small at 1 FP", "Dice"))
    assert "| nnUNetTrainer | 2 | 0.50 ± 0.50 | 0.67 ± 0.00 |  | 1.00 |" in text
    # Compared in the seeds that both have.
    assert "| Other | 1 | 1.00 | 0.67 | +0.00 [+0.00, +0.00] | 1.00 |" in text


def test_seconds_are_compared_on_the_same_machine_only(tmp_path):
    keep(tmp_path, "nnUNetTrainer", 0, detected="3", false_positives=1)
    keep(tmp_path, "nnUNetTrainer", 1, detected="3", false_positives=1, seconds=0.5, gpu="H200")
    keep(tmp_path, "Faster", 0, detected="3", false_positives=1, seconds=1.0)
    keep(tmp_path, "OnAnotherGPU", 0, detected="3", false_positives=1, seconds=1.0, gpu="H100")
    text = report.render(tmp_path, question="explore", budget="short", columns=("Dice",))
    costs = {line.split(" | ")[0][2:]: line.split(" | ")[-1].rstrip(" |") for line in text.splitlines()[4:]}
    assert costs == {"nnUNetTrainer": "1.00", "Faster": "0.50", "OnAnotherGPU": ""}


def test_the_page_keeps_what_is_written_by_hand(tmp_path):
    for trainer in ("nnUNetTrainer", "Other"):
        keep(tmp_path, trainer, 0, detected="3", false_positives=1)
    file = tmp_path / "results.md"
    file.write_text(f"# Results\n\nBy hand.\n\n{page.MARK}\n\nold\n")
    page.update(file, tmp_path)
    assert file.read_text().startswith("# Results\n\nBy hand.\n")
    assert "old" not in file.read_text()
    assert "800 steps of 4 patches of 128x128 pixels: trained on four fifths" in file.read_text()
    with Image.open(tmp_path / page.FIGURE) as figure:
        assert min(figure.size) > 300


def test_the_page_in_the_docs_is_that_of_the_kept_results():
    kept = (ROOT / "docs" / "results.md").read_text(encoding="utf-8").partition(page.MARK)[2]
    assert kept.strip() == page.generated(RESULTS).strip()
