"""What tests of every folder share: settings of hypothesis, and environments with the package freshly installed."""

import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).parents[1]

# Read when torch is loaded, here and in the processes that tests start: its idle threads sleep and do not spin on cores
# that other processes need.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Timings on shared machines say nothing about the code, and a run that fails has to fail again.
settings.register_profile("repository", deadline=None, derandomize=True)
settings.load_profile("repository")


@dataclass(frozen=True)
class Installation:
    """A virtual environment that has the package, and everything else from the environment of the tests.

    Attributes:
        python: its interpreter.
        site: its own site-packages.
        package: where nnunetv2_mamba has to be imported from.
    """

    python: Path
    site: Path
    package: Path

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
        """Run its Python with no variable of ours or nnU-Net's but the given ones, in a folder without packages."""
        return subprocess.run(
            [str(self.python), *arguments],
            env=without_our_variables() | variables,
            cwd=self.python.parent,
            capture_output=True,
            text=True,
            check=False,
        )

    def script(self, name: str) -> str:
        """A console script of another package, to be run by this Python."""
        return str(Path(sysconfig.get_path("scripts")) / name)


def without_our_variables() -> dict[str, str]:
    """The variables of this process without those that nnU-Net, Python's search path or we read."""
    ours = ("nnUNet", "NNUNETV2_MAMBA", "PYTHONPATH", "TORCH_DEVICE_BACKEND_AUTOLOAD")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


@pytest.fixture
def bare_environment() -> dict[str, str]:
    """Variables for a process that is to find everything by itself."""
    return without_our_variables()


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources, so that building leaves nothing behind in the real ones and finds nothing there."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in ("nnunetv2_mamba", "trainers", "plans"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    return copy


@pytest.fixture(scope="session")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that pip would build."""
    return build("build_wheel", checkout, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def wheel_installation(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """An environment with the wheel installed."""
    python, site = environment_with(wheel, tmp_path_factory.mktemp("from_wheel"))
    return Installation(python, site, site / "nnunetv2_mamba")


@pytest.fixture(scope="session")
def wheel_site(wheel_installation: Installation) -> Path:
    """The site-packages folder with the wheel installed."""
    return wheel_installation.site


@pytest.fixture(scope="session")
def editable_installation(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """An environment with the sources installed as by pip install -e."""
    link = build("build_editable", checkout, tmp_path_factory.mktemp("editable"))
    python, site = environment_with(link, tmp_path_factory.mktemp("from_editable"))
    return Installation(python, site, checkout / "nnunetv2_mamba")


@pytest.fixture(params=["wheel", "editable"])
def installation(request: pytest.FixtureRequest) -> Installation:
    """Both ways to install, one after the other."""
    return request.getfixturevalue(f"{request.param}_installation")


def build(hook: str, source: Path, target: Path) -> Path:
    """Call a hook of the build backend, as pip does, and return the wheel."""
    call = f"import sys; from setuptools.build_meta import {hook} as build; build(sys.argv[1])"
    subprocess.run([sys.executable, "-c", call, str(target)], cwd=source, check=True, capture_output=True)
    return next(target.glob("*.whl"))


def environment_with(wheel: Path, folder: Path) -> tuple[Path, Path]:
    """Python and site-packages of a new virtual environment that has the wheel, and sees the packages of this one.

    The packages are seen through a path file, whose folders are searched but whose own path files are not read: an
    editable installation that the tests run in can thus not stand in for what the wheel lacks.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, capture_output=True)
    python = next(file for file in (folder / "bin/python", folder / "Scripts/python.exe") if file.exists())
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    site = next(folder.rglob("site-packages"))
    seen = dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib"))
    (site / "packages_of_the_tests.pth").write_text("\n".join(seen))
    return python, site
