"""Options of the commands."""

from typing import Any

PROGRAM = "nnUNetv2_mamba"


def option(help: str, *flags: str, **settings: Any) -> dict[str, Any]:
    """Metadata that make a dataclass field a command line option.

    Args:
        help: what ``--help`` says.
        *flags: spellings of the option; ``--name`` of the field if none is given. A word without a dash makes it a
            positional argument and names it in the help.
        **settings: anything else that `argparse` takes, such as ``nargs`` or ``metavar``.
    """
    return {"help": help, "flags": flags, "settings": settings}
