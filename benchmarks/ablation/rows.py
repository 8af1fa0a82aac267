"""The rows of the ablation: which trainer has which part."""

from itertools import combinations

PARTS = ("EnCF", "TCMA", "CL")
BASELINE = "VM-UNet"
STOCK = "nnU-Net"
HALVES = {
    "attention alone": "nnUNetTrainerVMUNet_Attention",
    "no convolution": "nnUNetTrainerVMUNet_NoConvolution",
}
"""What EnCF does at once, taken apart: further rows, with their trainers in `halves`."""

OPTIONAL = (STOCK, *HALVES)
"""Rows that the paper's table does not have."""

ROWS: dict[str, tuple[str, ...]] = {
    BASELINE: (),
    **{" + ".join(chosen): chosen for size in (1, 2) for chosen in combinations(PARTS, size)},
    "S3-Mamba": PARTS,
}
"""Name of each row with its parts, in the order of the paper's table."""

TRAINERS = {
    BASELINE: "nnUNetTrainerVMUNet",
    **{name: "_".join(("nnUNetTrainerVMUNet", *parts)) for name, parts in ROWS.items() if len(parts) in (1, 2)},
    "S3-Mamba": "nnUNetTrainerS3Mamba",
    STOCK: "nnUNetTrainer",
    **HALVES,
}
"""Trainer of each row, and of the optional ones."""


def pairs(part: str) -> list[tuple[str, str]]:
    """The four pairs of rows, without and with a part, that differ in that part only."""
    named = {frozenset(parts): name for name, parts in ROWS.items()}
    return [(name, named[frozenset((*parts, part))]) for name, parts in ROWS.items() if part not in parts]
