"""The structure of the package: no circle of imports, no file that holds more than one idea can explain."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = {"nnunetv2_mamba": "nnunetv2_mamba", "trainers": "nnunetv2_mamba.trainers", "plans": "nnunetv2_mamba.plans"}
LONGEST = 400


def modules(root: Path = ROOT) -> dict[str, Path]:
    """Files of the package by the names of their modules."""
    found = {}
    for folder, package in FOLDERS.items():
        for path in (root / folder).rglob("*.py"):
            name = ".".join((package, *path.relative_to(root / folder).with_suffix("").parts))
            found[name.removesuffix(".__init__")] = path
    return found


class Imports(ast.NodeVisitor):
    """Imports of a module, inside of functions too; not those that only a type checker sees."""

    def __init__(self, known: dict[str, Path]) -> None:
        self.known = known
        self.found: set[str] = set()

    def visit_If(self, node: ast.If) -> None:
        only_checked = "TYPE_CHECKING" in ast.unparse(node.test)
        for statement in node.orelse if only_checked else [*node.body, *node.orelse]:
            self.visit(statement)

    def visit_Import(self, node: ast.Import) -> None:
        self.found |= {alias.name for alias in node.names}

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            module = f"{node.module}.{alias.name}"
            self.found.add(module if module in self.known else str(node.module))


def graph(known: dict[str, Path]) -> dict[str, set[str]]:
    """What each module imports of the others."""
    edges = {}
    for name, path in known.items():
        imports = Imports(known)
        imports.visit(ast.parse(path.read_text()))
        edges[name] = (imports.found & known.keys()) - {name}
    return edges


def test_imports_form_no_circle():
    TopologicalSorter(graph(modules())).prepare()


def test_a_circle_inside_of_a_function_would_be_noticed(tmp_path):
    for folder in FOLDERS:
        (tmp_path / folder).mkdir()
    (tmp_path / "nnunetv2_mamba" / "a.py").write_text("def f():\n    from nnunetv2_mamba import b")
    (tmp_path / "nnunetv2_mamba" / "b.py").write_text("from nnunetv2_mamba.a import f")
    (tmp_path / "nnunetv2_mamba" / "__init__.py").touch()
    with pytest.raises(CycleError):
        TopologicalSorter(graph(modules(tmp_path))).prepare()


@pytest.mark.parametrize("path", sorted(modules().values()), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_file_is_too_long(path):
    assert len(path.read_text().splitlines()) <= LONGEST
