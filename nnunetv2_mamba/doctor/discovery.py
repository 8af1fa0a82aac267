"""Would nnU-Net's own commands find our trainers, and their data?"""

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

from nnunetv2_mamba import plugin
from nnunetv2_mamba.doctor.finding import Finding, Status

FOLDERS = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")
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
    if environment.get(plugin.AUTOLOAD_VARIABLE) == "0":
        return Finding(Status.WARN, f"{plugin.AUTOLOAD_VARIABLE}=0 keeps us out of nnU-Net's search", own_way)
    if environment.get("TORCH_DEVICE_BACKEND_AUTOLOAD", "1") != "1":
        return Finding(Status.WARN, "TORCH_DEVICE_BACKEND_AUTOLOAD keeps PyTorch from calling entry points", own_way)
    if not entry_points(group="torch.backends", name="nnunetv2_mamba"):
        return Finding(Status.WARN, "PyTorch has no entry point of ours: this is an uninstalled checkout", own_way)
    return Finding(Status.OK, "PyTorch's entry point adds our trainers folder to nnU-Net's search")


def check_trainers(environment: dict[str, str]) -> Finding:
    """NnU-Net's own look-up of every trainer of ours, in a new process as nnUNetv2_train would be.

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


def check_folders(environment: dict[str, str]) -> list[Finding]:
    """NnU-Net's three variables; without them it can be installed and used as a library only.

    Args:
        environment: the variables as the user set them.
    """
    findings = []
    for variable in FOLDERS:
        folder = environment.get(variable)
        if folder is None:
            findings.append(Finding(Status.WARN, f"{variable} is not set", f"export {variable}=FOLDER"))
        elif not Path(folder).is_dir():
            findings.append(Finding(Status.WARN, f"{variable}={folder} is no folder", f'mkdir -p "{folder}"'))
        elif not os.access(folder, os.R_OK if variable == "nnUNet_raw" else os.W_OK):
            findings.append(Finding(Status.WARN, f"{variable}={folder} lacks permissions", f'chmod u+rw "{folder}"'))
        else:
            findings.append(Finding(Status.OK, f"{variable}={folder}"))
    return findings
