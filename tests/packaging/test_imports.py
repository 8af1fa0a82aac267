"""Who may import whom, and what an import may cost."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# A part may import from lower ranks and from parts named together with it.
RANKS = [
    {"files"},
    {"ops"},
    {"evaluation"},
    {"building_blocks"},
    {"architectures"},
    {"plans"},
    {"folders"},
    {"training"},
    {"trainers"},
    {"_autoload"},
    {"plugin"},
    {"doctor", "inspection", "pretrained", "report"},
    {"demo"},
    {"commands"},
    {"cli"},
    {"__main__"},
]
RANK = {part: rank for rank, parts in enumerate(RANKS) for part in parts}
FORBIDDEN = {
    "ops": {"nnunetv2", "dynamic_network_architectures", "batchgenerators", "batchgeneratorsv2"},
    "building_blocks": {"nnunetv2", "batchgenerators", "batchgeneratorsv2"},
    "architectures": {"nnunetv2", "batchgenerators", "batchgeneratorsv2"},
    "evaluation": {"torch", "nnunetv2"},
    "report": {"torch", "nnunetv2"},
}


def sources() -> list[Path]:
    return sorted(path for folder in ("nnunetv2_mamba", "trainers", "plans") for path in (ROOT / folder).rglob("*.py"))


def part_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[0] if parts[0] != "nnunetv2_mamba" else parts[1]


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def wrong_imports(path: Path) -> set[str]:
    part = part_of(path)
    ours = {name.split(".")[1] for name in imported(path) if name.startswith("nnunetv2_mamba.")} - {part}
    theirs = {name.split(".")[0] for name in imported(path)}
    upwards = {other for other in ours & RANK.keys() if RANK[other] > RANK[part]}
    sideways = {other for other in ours & RANK.keys() if part == "evaluation" and other not in (part, "files")}
    return upwards | sideways | (theirs & FORBIDDEN.get(part, set()))


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_point_downwards(path):
    if path == ROOT / "nnunetv2_mamba" / "__init__.py":
        assert {name.split(".")[0] for name in imported(path)} <= set(sys.stdlib_module_names)
        return
    assert part_of(path) in RANK, "a new part needs its place in RANKS"
    assert wrong_imports(path) == set()


@pytest.mark.parametrize(
    ("where", "line"),
    [
        ("nnunetv2_mamba/ops/x.py", "from nnunetv2_mamba.building_blocks import SSND"),
        ("nnunetv2_mamba/architectures/x.py", "import nnunetv2.training"),
        ("nnunetv2_mamba/evaluation/x.py", "def f():\n    from torch import nn"),
        ("plans/x.py", "from nnunetv2_mamba import plugin"),
    ],
)
def test_a_wrong_import_would_be_noticed(monkeypatch, tmp_path, where, line):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    path = tmp_path / where
    path.parent.mkdir(parents=True)
    path.write_text(line)
    assert wrong_imports(path)


def in_new_process(code: str) -> None:
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    "code",
    [
        "import nnunetv2_mamba",
        "import nnunetv2_mamba.cli",
        "import nnunetv2_mamba.__main__",
        "from nnunetv2_mamba.cli import main; main(['--help'])",
        "from nnunetv2_mamba.cli import main; main(['trainers'])",
        "from nnunetv2_mamba.cli import main\ntry: main(['plan', '--help'])\nexcept SystemExit: pass",
        "from nnunetv2_mamba.cli import main\ntry: main(['demo', '--help'])\nexcept SystemExit: pass",
        "from nnunetv2_mamba.cli import main\ntry: main(['convert-weights', '--help'])\nexcept SystemExit: pass",
        "from nnunetv2_mamba.cli import main\ntry: main(['inspect', '--help'])\nexcept SystemExit: pass",
        "from nnunetv2_mamba.cli import main\ntry: main(['report', '--help'])\nexcept SystemExit: pass",
    ],
)
def test_it_loads_neither_torch_nor_nnunetv2(code):
    in_new_process(f"{code}\nimport sys\nassert not sys.modules.keys() & {{'torch', 'nnunetv2'}}")


def test_networks_work_without_nnunetv2():
    in_new_process(
        "import sys\n"
        "class NoNnUNet:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] == 'nnunetv2':\n"
        "            raise ModuleNotFoundError(f'{name} is not there')\n"
        "sys.meta_path.insert(0, NoNnUNet())\n"
        "import torch\n"
        "from nnunetv2_mamba.architectures import S3Mamba\n"
        "small = dict(features_per_stage=(8, 16), strides=((1, 1), (4, 4), (2, 2)), n_blocks_per_stage=(1, 1),\n"
        "             n_blocks_per_stage_decoder=(1, 1))\n"
        "assert S3Mamba(1, 2, **small)(torch.zeros(1, 1, 16, 16)).shape == (1, 2, 16, 16)\n"
    )


def test_public_names():
    from nnunetv2_mamba import architectures, evaluation, ops
    from nnunetv2_mamba.architectures.registry import NETWORKS

    assert {"S3Mamba", "SAUMamba", "SegMamba", "VMUNet"} == set(NETWORKS)
    assert all(getattr(architectures, name) is network for name, network in NETWORKS.items())
    assert {"BackendError", "Decision", "causal_conv1d", "cross_selective_scan", "explain", "selective_scan"} == set(
        ops.__all__
    )
    for package in (evaluation, ops):
        assert all(hasattr(package, name) for name in package.__all__)
