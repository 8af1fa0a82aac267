"""How nnU-Net finds trainer classes, and how it finds those of this package; no other module knows.

nnU-Net 2.8 imports every module below its own trainer folder until one has the wanted name, then those of each folder
in the environment variable nnUNet_extTrainer. Here, names are file names: one trainer a file, named like the class.
Nothing in this module imports torch or nnunetv2, so that a mistyped name is answered at once.
"""

import ast
import importlib
import importlib.util
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nnunetv2_mamba._autoload import EXTERNAL_VARIABLE
from nnunetv2_mamba.trainers import __path__ as TRAINERS_PATH

# What gives a module names that its text does not spell out.
ANY_NAME = r"^\s*from\s.*\simport\s+\*|\b(?:globals|setattr|exec)\s*\(|\b__getattr__\b"


def trainers_folder() -> Path:
    """The folder of our trainers, in a wheel and in an editable installation alike."""
    return Path(TRAINERS_PATH[0])


def trainer_names() -> list[str]:
    """Our trainers as ``-tr`` takes them, in alphabetical order."""
    return sorted(file.stem for file in trainers_folder().glob("nnUNetTrainer*.py"))


def load_trainer(name: str) -> Any:
    """One of our trainers, by its name; this imports nnU-Net.

    Args:
        name: one of `trainer_names`.
    """
    return getattr(importlib.import_module(f"nnunetv2_mamba.trainers.{name}"), name)


def look_up_trainer(name: str) -> Any:
    """The trainer class that nnU-Net finds by its name, of this package or another; this imports its file.

    Args:
        name: as given to ``-tr``.

    Raises:
        RuntimeError: nnU-Net finds no trainer of that name.
    """
    if name in trainer_names():
        return load_trainer(name)
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    return recursive_find_trainer_class_by_name(name)


def external_folders() -> list[Path]:
    """The folders in nnUNet_extTrainer, in the order in which nnU-Net searches them."""
    return [Path(folder) for folder in os.environ.get(EXTERNAL_VARIABLE, "").split(os.pathsep) if folder.strip()]


def expose_trainers() -> None:
    """Make nnU-Net find our trainers in this process and its children, whatever NNUNETV2_MAMBA_AUTOLOAD says."""
    folders = dict.fromkeys([*external_folders(), trainers_folder()])
    os.environ[EXTERNAL_VARIABLE] = os.pathsep.join(map(str, folders))


def nnunet_folder() -> Path | None:
    """Where the package nnunetv2 lies, or None where there is none."""
    spec = importlib.util.find_spec("nnunetv2")
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None


def may_exist(trainer: str) -> bool:
    """Whether nnU-Net's look-up could find a trainer: False only when no file it searches is seen to allow that name.

    Files are read, not imported. Where one of them has a star import or makes names while it runs (``globals()``,
    ``setattr``, ``exec``, ``__getattr__``), any name may exist, and nnU-Net has to look.

    Args:
        trainer: class name as given to ``-tr``.
    """
    named = re.compile(rf"\b{re.escape(trainer)}\b|{ANY_NAME}", re.MULTILINE)
    return any(named.search(file.read_text(encoding="utf-8", errors="replace")) for file in _searched_files())


def files_without_their_trainer() -> list[Path]:
    """Files that are named after a trainer which neither they nor any other file that nnU-Net searches defines.

    NnU-Net's look-up passes them over without a word. Files are read, not imported. One that makes names while it runs
    counts as defining every name.
    """
    folders = dict.fromkeys([*external_folders(), trainers_folder()])
    named = (file for folder in folders for file in sorted(folder.rglob("nnUNetTrainer*.py")))
    return [file for file in named if not _defines(file, file.stem) and not _is_defined(file.stem)]


def describe_missing_trainer(file: Path) -> tuple[str, str]:
    """What is wrong with a file that `files_without_their_trainer` lists, and the remedy."""
    try:
        ast.parse(file.read_text(encoding="utf-8", errors="replace"))
    except SyntaxError as error:
        return f"{file} is not valid Python in line {error.lineno}", "correct it"
    return f"{file} has no class {file.stem}", "define or import it there, since nnU-Net looks for that name"


def _searched_files() -> Iterator[Path]:
    """Every file that nnU-Net's look-up of trainers may import."""
    stock = nnunet_folder()
    folders = [*external_folders(), trainers_folder(), *([stock / "training" / "nnUNetTrainer"] if stock else [])]
    return (file for folder in folders for file in folder.rglob("*.py"))


def _is_defined(trainer: str) -> bool:
    return any(_defines(file, trainer) for file in _searched_files())


def _defines(file: Path, name: str) -> bool:
    """Whether a module has a name; not whether it can be imported."""
    text = file.read_text(encoding="utf-8", errors="replace")
    if re.search(ANY_NAME, text, re.MULTILINE):
        return True
    # Most files do not mention the name, and parsing all of nnU-Net's takes a second.
    if name not in text:
        return False
    try:
        return name in _names_in(ast.parse(text).body)
    except SyntaxError:
        return False


def _names_in(statements: Sequence[ast.stmt]) -> set[str]:
    """Names that statements of a module define, in the branches of ``if``, ``try`` and ``with`` too."""
    names: set[str] = set()
    for node in statements:
        if isinstance(node, ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
        elif isinstance(node, (ast.If, ast.Try, ast.With)):
            parts = [node.body, getattr(node, "orelse", []), getattr(node, "finalbody", [])]
            parts += [handler.body for handler in getattr(node, "handlers", [])]
            names |= _names_in([statement for part in parts for statement in part])
    return names
