"""Where a network comes from."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Publication:
    """The paper of a network, and its code.

    Attributes:
        title: short name of the paper.
        paper: arXiv number or DOI.
        code: repository of the published code; None where there is none.
        licence: of that code; None where the repository has none.
    """

    title: str
    paper: str
    code: str | None = None
    licence: str | None = None
