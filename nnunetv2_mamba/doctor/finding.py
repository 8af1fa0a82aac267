"""What one check of the doctor found."""

from dataclasses import dataclass
from enum import Enum


class Status(Enum):
    """How bad a finding is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    """One thing that works or does not.

    Attributes:
        status: FAIL when training with one of our trainers cannot work before it is fixed.
        text: what is the case, in one line.
        remedy: what to type or to set; empty where nothing is wrong.
    """

    status: Status
    text: str
    remedy: str = ""

    def __str__(self) -> str:
        """The finding as the doctor prints it, the remedy on a line of its own."""
        line = f"  {self.status.value:<5} {self.text}"
        return f"{line}\n        remedy: {self.remedy}" if self.remedy else line


def first_line(error: BaseException) -> str:
    """Type and first line of an error, which for a broken binary may run over pages."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
