"""Style of the plots of a report, and how a plot becomes part of the page."""

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib
from matplotlib.figure import Figure

INK, MUTED, LINE = "#1b1d21", "#646870", "#e2e2dc"
COLOURS = ("#0b6bb3", "#cf4f12", "#00795f", "#a03d97", "#8f6400", "#4a4fb5", "#5d636b")
MARKERS = "os^DvPX"

_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "font.family": "sans-serif",
    "font.size": 9.25,
    "axes.labelsize": 9.25,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "text.color": INK,
    # Names of models are not formulas.
    "text.parse_math": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}


@contextmanager
def page_style() -> Iterator[None]:
    """Figures that are made and written within it have the style of the page."""
    with matplotlib.rc_context(_STYLE):
        yield


def colour(model: int) -> str:
    """Colour of a model, by the index of the model."""
    return COLOURS[model % len(COLOURS)]


def marker(model: int) -> str:
    """Marker of a model; models of the same colour have different markers."""
    return MARKERS[(model + model // len(COLOURS)) % len(MARKERS)]


def figure_of(width: float, height: float) -> Figure:
    """An empty figure, in CSS pixels."""
    return Figure(figsize=(width / 96, height / 96), layout="constrained")


def data_uri(figure: Figure) -> str:
    """The figure as an SVG image that is part of the page."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(buffer.getvalue()).decode()}"
