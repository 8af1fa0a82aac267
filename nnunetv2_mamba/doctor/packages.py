"""Are the packages that training needs there, of a usable version, and what they claim to be?"""

import importlib
import json
import platform
import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution, requires, version
from pathlib import Path

from nnunetv2_mamba import plugin
from nnunetv2_mamba.doctor.finding import Finding, Status, first_line

OURS = "nnunetv2-mamba"
SHOWN = (OURS, "nnunetv2", "torch", "torchvision", "numba", "triton", "mamba-ssm", "causal-conv1d")
REINSTALL_NNUNET = "pip uninstall -y nnunetv2 && pip install 'nnunetv2>=2.8,<3', in an environment without forks of it"
REINSTALL_TORCH = "pip uninstall -y torch torchvision && pip install torch torchvision, together, so that they match"


def installed_version(name: str) -> str | None:
    """Version in a distribution's metadata, None where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def release(text: str) -> tuple[int, int]:
    """Major and minor number of a version such as ``2.15.0+cu130``."""
    numbers = [int(number) for number in re.findall(r"\d+", text)[:2]]
    return (numbers[0], numbers[1]) if len(numbers) == 2 else (0, 0)


def check_versions() -> Finding:
    """Versions of everything that matters, for bug reports."""
    found = [f"{name} {installed_version(name) or '(not installed)'}" for name in SHOWN]
    return Finding(Status.OK, f"python {platform.python_version()} on {platform.system()}, " + ", ".join(found))


def check_torch() -> Finding:
    """Torch must be importable and 2.5 or newer, which is when it began to call entry points."""
    try:
        torch = importlib.import_module("torch")
    except Exception as error:  # a broken installation may raise anything, and all of it is what to report
        return Finding(Status.FAIL, f"torch does not import: {first_line(error)}", REINSTALL_TORCH)
    if release(torch.__version__) < (2, 5):
        return Finding(Status.FAIL, f"torch {torch.__version__} is older than 2.5", "pip install --upgrade torch")
    return Finding(Status.OK, f"torch {torch.__version__} imports")


def check_torchvision() -> Finding:
    """NnU-Net's look-up of trainers imports all of its own first, some of which need a torchvision that fits torch."""
    try:
        importlib.import_module("torchvision")
    except Exception as error:  # as for torch
        built_for = next((line for line in _requirements("torchvision") if re.match(r"torch\b", line)), "another torch")
        text = f"torchvision does not import ({first_line(error)}); it wants {built_for}, installed is torch "
        return Finding(Status.FAIL, text + str(installed_version("torch")), REINSTALL_TORCH)
    return Finding(Status.OK, f"torchvision {installed_version('torchvision')} fits torch")


def check_nnunet() -> Finding:
    """The package that imports as nnunetv2 must be nnU-Net 2.8 or newer, not a fork that took its name."""
    folder = plugin.nnunet_folder()
    if folder is None:
        return Finding(Status.FAIL, "nnunetv2 is not installed", "pip install 'nnunetv2>=2.8,<3'")
    try:
        metadata = distribution("nnunetv2")
    except PackageNotFoundError:
        text = f"{folder} imports as nnunetv2, but no distribution of that name is installed: a copy or a fork"
        return Finding(Status.FAIL, text, REINSTALL_NNUNET)
    if not (2, 8) <= release(metadata.version) < (3, 0):
        text = f"nnunetv2 {metadata.version} in {folder} is an older nnU-Net or a fork of one; needed is >=2.8,<3"
        return Finding(Status.FAIL, text, REINSTALL_NNUNET)
    if not _has_external_trainers(folder):
        text = f"{folder} says it is nnunetv2 {metadata.version}, but lacks the search of nnUNet_extTrainer: a fork"
        return Finding(Status.FAIL, text, REINSTALL_NNUNET)
    if not _belongs_to(folder, metadata):
        text = f"nnunetv2 is imported from {folder}, not from the nnunetv2 {metadata.version} that pip installed"
        return Finding(Status.WARN, text, "remove that folder from PYTHONPATH or change the working directory")
    return Finding(Status.OK, f"nnunetv2 {metadata.version} in {folder} is nnU-Net itself")


def check_extension(name: str) -> Finding:
    """An optional package of CUDA kernels either loads, or is not there; a broken one is never used but worth a word.

    Args:
        name: distribution name, such as ``mamba-ssm``.
    """
    number = installed_version(name)
    module = name.replace("-", "_")
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name == module:
            return Finding(Status.OK, f"{name} is not installed, and not needed")
        reason = first_line(error)
    except Exception as error:  # as for torch
        reason = first_line(error)
    else:
        return Finding(Status.OK, f"{name} {number} loads")
    remedy = f"nothing needs it: pip uninstall {name}; or build it for this torch: pip install --no-build-isolation "
    return Finding(
        Status.WARN, f"{name} {number} is installed but broken, so it is not used: {reason}", remedy + f"-U {name}"
    )


def _requirements(name: str) -> list[str]:
    return (requires(name) or []) if installed_version(name) else []


def _has_external_trainers(folder: Path) -> bool:
    finder = folder / "utilities" / "find_objects.py"
    return finder.is_file() and plugin.EXTERNAL_VARIABLE in finder.read_text(encoding="utf-8", errors="replace")


def _belongs_to(folder: Path, metadata: Distribution) -> bool:
    origin = json.loads(metadata.read_text("direct_url.json") or "{}")
    if origin.get("dir_info", {}).get("editable"):
        return True
    return Path(str(metadata.locate_file("nnunetv2"))).resolve() == folder.resolve()
