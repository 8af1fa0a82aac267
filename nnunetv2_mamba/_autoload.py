"""PyTorch calls `register` at the end of ``import torch``, so that nnU-Net's own commands find our trainers."""

import os


def register() -> None:
    """Append our trainers folder to nnUNet_extTrainer, behind the user's own; NNUNETV2_MAMBA_AUTOLOAD=0 keeps out."""
    if os.environ.get("NNUNETV2_MAMBA_AUTOLOAD") == "0":
        return
    try:
        from nnunetv2_mamba.trainers import __path__ as ours
    except ImportError:  # half an installation must not take `import torch` down; the doctor reports it
        return
    folders = [folder for folder in os.environ.get("nnUNet_extTrainer", "").split(os.pathsep) if folder]
    os.environ["nnUNet_extTrainer"] = os.pathsep.join(dict.fromkeys([*folders, *ours]))
