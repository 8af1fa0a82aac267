"""Would nnU-Net's own commands find our trainers, and their data?"""

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

from nnunetv2_mamba import plugin
from nnunetv2_mamba._autoload import AUTOLOAD_VARIABLE
from nnunetv2_mamba.doctor.finding import Finding, Status

# What each holds, and whether a training stops without it; it never looks at the raw images.
FOLDERS = {
    "nnUNet_raw": ("datasets as you collect them, which planning reads", Status.WARN),
    "nnUNet_preprocessed": ("what planning makes of them, which training reads", Status.FAIL),
    "nnUNet_results": ("trained models", Status.FAIL),
}
LOOK_UP = """
import sys
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name
for name in sys.argv[1:]:
    recursive_find_trainer_class_by_name(name)
"""


def check_autoload(environment: dict[str, str]) -> Finding:
    """PyTorch must have our entry point and be allowed to call it.

    Args:
        environment: the variables as the user set them.
    """
    setting = f'export {plugin.EXTERNAL_VARIABLE}="{plugin.trainers_folder()}"'
    own_way = f"nnUNetv2_mamba train works as it is; for nnU-Net's own commands {setting}"
    if environment.get(AUTOLOAD_VARIABLE) == "0":
        return Finding(Status.WARN, f"{AUTOLOAD_VARIABLE}=0 keeps us out of nnU-Net's search", own_way)
    if environment.get("TORCH_DEVICE_BACKEND_AUTOLOAD", "1") != "1":
        return Finding(Status.WARN, "TORCH_DEVICE_BACKEND_AUTOLOAD keeps PyTorch from calling entry points", own_way)
    if not entry_points(group="torch.backends", name="nnunetv2_mamba"):
        return Finding(
            Status.WARN, "PyTorch has no entry point of this package: this is an uninstalled checkout", own_way
        )
    return Finding(Status.OK, "PyTorch's entry point adds our trainers folder to nnU-Net's search")


def check_trainers(environment: dict[str, str]) -> Finding:
    """NnU-Net's own look-up of every trainer of this package, in a new process as nnUNetv2_train would be.

    Args:
        environment: the variables of that process.
    """
    names = plugin.trainer_names()
    if not names:
        text = f"{plugin.trainers_folder()} holds no trainer: the installation is incomplete"
        return Finding(Status.FAIL, text, "pip install --force-reinstall --no-deps nnunetv2-mamba")
    result = subprocess.run(
        [sys.executable, "-c", LOOK_UP, *names], env=environment, capture_output=True, text=True, check=False
    )
    if result.returncode == 0:
        return Finding(Status.OK, f"nnU-Net finds {', '.join(names)} in {plugin.trainers_folder()}")
    reason = (result.stderr.strip().splitlines() or ["no message"])[-1]
    # Whoever opted out wants exactly this, and `nnUNetv2_mamba train` still works.
    opted_out = check_autoload(environment).status is not Status.OK
    status = Status.WARN if opted_out and "Could not find requested nnunet trainer" in reason else Status.FAIL
    return Finding(status, f"nnU-Net's look-up of {', '.join(names)} fails: {reason}", "see the lines above")


def check_trainer_files() -> list[Finding]:
    """Files that are named after a trainer and lack its class; nnU-Net passes them over without a word."""
    return [
        Finding(Status.WARN, *plugin.describe_missing_trainer(file)) for file in plugin.files_without_their_trainer()
    ]


def check_folders(environment: dict[str, str]) -> list[Finding]:
    """NnU-Net's three variables; a folder that is only missing is none of our business, for nnU-Net makes it.

    Args:
        environment: the variables as the user set them.
    """
    return [check_folder(variable, environment.get(variable)) for variable in FOLDERS]


def check_folder(variable: str, folder: str | None) -> Finding:
    """One of nnU-Net's variables.

    Args:
        variable: its name, of `FOLDERS`.
        folder: its value, None where it is not set.
    """
    content, worst = FOLDERS[variable]
    if not folder:
        text = f"{variable} is not set: nnU-Net's folder for {content}"
        return Finding(
            worst, text, f"export {variable}=FOLDER, here and in the file that your shell reads at its start"
        )
    if not Path(folder).exists():
        return Finding(Status.WARN, f"{variable}={folder} does not exist yet", f'mkdir -p "{folder}"')
    if not Path(folder).is_dir():
        return Finding(worst, f"{variable}={folder} is not a folder", f"export {variable}=FOLDER")
    if not os.access(folder, (os.R_OK if variable == "nnUNet_raw" else os.W_OK) | os.X_OK):
        return Finding(worst, f"{variable}={folder} lacks permissions", f'chmod u+rwx "{folder}"')
    return Finding(Status.OK, f"{variable}={folder}")
