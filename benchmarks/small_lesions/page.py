"""The generated part of docs/results.md: the tables and the figure of all kept results."""

from pathlib import Path

from benchmarks.small_lesions.budget import BUDGETS
from benchmarks.small_lesions.figure import draw
from benchmarks.small_lesions.report import by_dataset, render

MARK = "<!-- Generated from here on by `python -m benchmarks.small_lesions page`; what is above is written by hand. -->"
FIGURE = "results_froc.png"
COMPARED = (("test", "long"), ("explore", "long"), ("explore", "short"))
"""Question and budget of what the page shows, the most telling first."""

COLUMNS = ("small at 1 FP", "small, area to 2 FP", "medium at 1 FP", "F1 at 0.5", "Dice")
SCORED = {
    "test": "trained on all training images, scored on the test images",
    "explore": "trained on four fifths of the training images, scored on the others",
}


def update(page: Path, results: Path) -> None:
    """Replace what is below the mark, and draw the figure beside the page.

    Args:
        page: with the mark.
        results: folder of the results.
    """
    above = page.read_text(encoding="utf-8").partition(MARK)[0].rstrip()
    page.write_text(f"{above}\n\n{MARK}\n\n{generated(results)}\n", encoding="utf-8")
    question, budget = next(kind for kind in COMPARED if by_dataset(results, question=kind[0], budget=kind[1]))
    draw(results, page.parent / FIGURE, question=question, budget=budget)


def generated(results: Path) -> str:
    """Everything below the mark."""
    parts = [f"![Recall of small lesions against false positives per image]({FIGURE})"]
    for question, budget in COMPARED:
        if tables := render(results, question=question, budget=budget, columns=COLUMNS):
            length = BUDGETS[budget]
            steps = f"{length.steps:,} steps of {length.batch} patches of {length.patch}x{length.patch} pixels"
            parts += [f"### {steps}: {SCORED[question]}", tables]
    return "\n\n".join(parts)
