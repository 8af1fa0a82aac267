"""Matplotlib figures as SVG inside of a page, in the colours and letters of that page."""

import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from xml.etree import ElementTree

import matplotlib
from matplotlib.figure import Figure

# Colours that stand for those of the page, which are others by day and by night.
INK, MUTED, LINE, PAPER = "#010101", "#020202", "#030303", "#040404"
_VARIABLES = {INK: "ink", MUTED: "muted", LINE: "line", PAPER: "paper"}

MODEL_COLOURS = 7
MOST_ENLARGED = 1.25
_MARKERS = "os^DvPX"
_MARKER_PATHS = {
    "o": "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0z",
    "s": "M-3.5,-3.5h7v7h-7z",
    "^": "M0,-4.5L4.5,4L-4.5,4z",
    "D": "M0,-5L5,0L0,5L-5,0z",
    "v": "M0,4.5L4.5,-4L-4.5,-4z",
    "P": "M-1.7,-5h3.4v3.3h3.3v3.4h-3.3v3.3h-3.4v-3.3h-3.3v-3.4h3.3z",
    "X": "M-5,-2.5L-2.5,-5L0,-2.5L2.5,-5L5,-2.5L2.5,0L5,2.5L2.5,5L0,2.5L-2.5,5L-5,2.5L-2.5,0z",
}

_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "font.family": "sans-serif",
    "font.size": 9.25,
    "axes.labelsize": 9.25,
    "axes.titlesize": 9.25,
    "axes.titlelocation": "left",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "text.color": INK,
    # Names are no formulas.
    "text.parse_math": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "figure.facecolor": "none",
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}


@contextmanager
def page_style() -> Iterator[None]:
    """Within it, figures are made, drawn on and written in the style of the page."""
    with matplotlib.rc_context(_STYLE):
        yield


def colour(model: int) -> str:
    """What stands for the colour of a model, by its place among the models."""
    return f"#0000{model % MODEL_COLOURS + 1:02x}"


def marker(model: int) -> str:
    """Marker of a model; another one once the colours begin again."""
    return _MARKERS[(model + model // MODEL_COLOURS) % len(_MARKERS)]


def marker_path(model: int) -> str:
    """The same marker as the data of an SVG path around the origin."""
    return _MARKER_PATHS[marker(model)]


def figure_of(width: float, height: float, left: float = 54, below: float = 46) -> Figure:
    """An empty figure of so many CSS pixels, with room for labels on the left and below."""
    figure = Figure(figsize=(width / 96, height / 96))
    # Matplotlib can find the margins by itself, and takes half of the time of a plot for it.
    figure.subplots_adjust(left / width, below / height, 1 - 12 / width, 1 - 12 / height, hspace=0.12)
    return figure


def inline_svg(figure: Figure, label: str, name: str, titles: Mapping[str, str] | None = None) -> str:
    """The figure as an ``<svg>`` element.

    Args:
        figure: drawn within `page_style` with the colours of this module.
        label: what it shows, for those who do not see it.
        name: letters and digits that tell its parts from those of other figures of the page.
        titles: what the pointer shows over an element with this link.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    svg = ElementTree.fromstring(buffer.getvalue())
    for element in svg.iter():
        _without_namespaces(element)
    for parent in list(svg.iter()):
        for child in list(parent):
            # A style sheet within one figure would be one for the whole page.
            if child.tag in ("metadata", "style"):
                parent.remove(child)
    _keep_only_own_ids(svg, name)
    for element in svg.iter():
        if "style" in element.attrib:
            element.set("style", _in_page_colours(element.attrib["style"]))
        if "d" in element.attrib:
            element.set("d", re.sub(r"(\.\d\d)\d+|\s*\n", r"\1 ", element.attrib["d"]))
        if element.tag == "a":
            element.attrib.pop("target", None)
            title = ElementTree.Element("title")
            title.text = (titles or {}).get(element.attrib["href"], "")
            element.insert(0, title)
    box = svg.attrib["viewBox"]
    svg.attrib.clear()
    # A little larger than drawn still looks like the page's own letters.
    width = figure.get_size_inches()[0] * 96 * MOST_ENLARGED
    svg.attrib.update({"viewBox": box, "role": "img", "aria-label": label, "style": f"max-width: {width:.0f}px"})
    return ElementTree.tostring(svg, encoding="unicode")


def _without_namespaces(element: ElementTree.Element) -> None:
    element.tag = element.tag.rpartition("}")[2]
    for key in list(element.attrib):
        element.attrib[key.rpartition("}")[2]] = element.attrib.pop(key)


def _keep_only_own_ids(svg: ElementTree.Element, name: str) -> None:
    """Ids that something refers to get the figure's name in front, the others go."""
    used = {
        found for element in svg.iter() for value in element.attrib.values() for found in re.findall(r"#(\w+)", value)
    }
    for element in svg.iter():
        if element.attrib.get("id") in used:
            element.set("id", f"{name}-{element.attrib['id']}")
        else:
            element.attrib.pop("id", None)
        for key, value in element.attrib.items():
            if key == "clip-path" or (key == "href" and element.tag == "use"):
                element.set(key, value.replace("#", f"#{name}-"))


def _in_page_colours(style: str) -> str:
    style = re.sub(r"#0000(0[1-9a-f])\b", lambda found: f"var(--model-{int(found[1], 16)})", style)
    for stand_in, variable in _VARIABLES.items():
        style = style.replace(stand_in, f"var(--{variable})")
    # The page's own letters; Matplotlib's shorthand names size and family in one.
    style = re.sub(r"font: (.*?)([\d.]+px) [^;]*", r"font-size: \2", style)
    return re.sub(r"font-family:[^;]*;?\s*", "", style)
