"""Reports of small models, read as a browser would read them."""

from dataclasses import dataclass
from html.parser import HTMLParser

import pytest

VOID = {"meta", "br", "input", "wbr", "image", "rect", "use", "path", "link", "img", "hr"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str | None]
    text: str = ""


class Page(HTMLParser):
    """Every element of a page with the text below it; complains of tags that do not match."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.html, self.elements, self._open = html, [], []
        self.feed(html)
        self.close()
        assert not self._open, [element.tag for element in self._open]

    def handle_starttag(self, tag: str, attrs: list) -> None:
        element = Element(tag, dict(attrs))
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.elements.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        assert self._open[-1].tag == tag, (tag, self._open[-1], self.getpos())
        self._open.pop()

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data

    def all(self, tag: str, **attributes: str) -> list[Element]:
        wanted = {name.rstrip("_"): value for name, value in attributes.items()}
        return [
            element
            for element in self.elements
            if element.tag == tag
            and all(value in (element.attributes.get(name) or "").split() for name, value in wanted.items())
        ]

    def text(self, tag: str = "main", **attributes: str) -> str:
        return "\n".join(" ".join(element.text.split()) for element in self.all(tag, **attributes))


@pytest.fixture(scope="session")
def page():
    return Page
