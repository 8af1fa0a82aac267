"""PyTorch calls `register` at the end of ``import torch``, so that nnU-Net's own commands find our trainers."""

import os

AUTOLOAD_VARIABLE, EXTERNAL_VARIABLE = "NNUNETV2_MAMBA_AUTOLOAD", "nnUNet_extTrainer"


def register() -> None:
    """Append our trainers folder to nnUNet_extTrainer, behind the user's own; NNUNETV2_MAMBA_AUTOLOAD=0 keeps out."""
    if os.environ.get(AUTOLOAD_VARIABLE) == "0":
        return
    try:
        from nnunetv2_mamba.trainers import __path__ as ours
    except Exception:  # whatever ails our files must not take anybody's `import torch` down; the doctor reports it
        return
    folders = [folder for folder in os.environ.get(EXTERNAL_VARIABLE, "").split(os.pathsep) if folder]
    os.environ[EXTERNAL_VARIABLE] = os.pathsep.join(dict.fromkeys([*folders, *ours]))
