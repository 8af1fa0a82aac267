"""What is in the wheel, and that an installation of it is complete."""

import re
import sys
import zipfile
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

SAMPLE_LIMIT = 4 * 2**20
# What is imported under another name than it is installed by.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "cc3d": "connected-components-3d",
    "dynamic_network_architectures": "dynamic-network-architectures",
    "surface_distance": "surface-distance",
}


@pytest.fixture(scope="session")
def members(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {member.filename: member.file_size for member in archive.infolist() if not member.is_dir()}


def test_every_source_file_is_in_the_wheel(members, checkout):
    expected = {path.relative_to(checkout).as_posix() for path in (checkout / "nnunetv2_mamba").rglob("*.py")}
    for folder in ("trainers", "plans"):
        expected |= {
            f"nnunetv2_mamba/{path.relative_to(checkout).as_posix()}" for path in (checkout / folder).glob("*.py")
        }
    assert {member for member in members if member.endswith(".py")} == expected
    assert "nnunetv2_mamba/trainers/nnUNetTrainerS3Mamba.py" in members
    assert "nnunetv2_mamba/plans/derive.py" in members


def test_type_marker_and_licence_are_in_the_wheel(members):
    assert "nnunetv2_mamba/py.typed" in members
    assert any(member.endswith("dist-info/licenses/LICENSE") for member in members)


def test_the_sample_is_whole_and_small(members, checkout):
    folder = checkout / "nnunetv2_mamba" / "demo" / "sample"
    expected = {path.relative_to(checkout).as_posix() for path in folder.rglob("*") if path.is_file()}
    shipped = {member for member in members if member.startswith("nnunetv2_mamba/demo/sample/")}
    assert shipped == expected
    assert "nnunetv2_mamba/demo/sample/dataset.json" in shipped
    assert sum(members[member] for member in shipped) <= SAMPLE_LIMIT


def test_nothing_else_is_in_the_wheel_and_nothing_compiled(members, wheel):
    assert {member.split("/")[0].split("-")[0] for member in members} == {"nnunetv2_mamba"}
    assert wheel.name.endswith("-py3-none-any.whl")


def test_the_installed_metadata_name_our_commands_and_requirements(wheel_site):
    metadata = PathDistribution(next(wheel_site.glob("nnunetv2_mamba-*.dist-info")))
    points = {(point.group, point.name): point.value for point in metadata.entry_points}
    assert points == {
        ("console_scripts", "nnUNetv2_mamba"): "nnunetv2_mamba.cli:main",
        ("torch.backends", "nnunetv2_mamba"): "nnunetv2_mamba._autoload:register",
    }
    required = {line.replace(" ", "") for line in metadata.requires or [] if "extra" not in line}
    assert {"nnunetv2<3,>=2.8", "torch>=2.5"} <= required
    assert not any(line.startswith("torchvision") for line in required)


def test_every_package_that_we_import_is_required(wheel_site, checkout):
    metadata = PathDistribution(next(wheel_site.glob("nnunetv2_mamba-*.dist-info")))
    required = {re.match(r"[\w-]+", line).group() for line in metadata.requires or []}
    lines = [line for path in checkout.rglob("*.py") for line in path.read_text().splitlines()]
    found = (re.match(r"\s*(?:import|from) (\w+)\b(?=[\w.]* import|$| as |\.)", line) for line in lines)
    imported = {match.group(1) for match in found if match} - sys.stdlib_module_names
    imported.discard("triton")  # PyTorch's to require, in the version that it works with, where it has CUDA at all
    assert {"torch", "nnunetv2", "numba"} <= imported
    assert {DISTRIBUTIONS.get(name, name) for name in imported} - {"nnunetv2_mamba"} <= required


def test_the_installed_command_answers(wheel_installation):
    script = next(wheel_installation.python.parent.glob("nnUNetv2_mamba*"))
    result = wheel_installation.run(str(script), "trainers", "--folder")
    assert Path(result.stdout.strip()) == wheel_installation.package / "trainers", result.stderr
