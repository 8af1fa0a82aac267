"""The rows of the ablation: which trainer has which part."""

from itertools import combinations

PARTS = ("EnCF", "TCMA", "CL")
BASELINE = "VM-UNet"
STOCK = "nnU-Net"

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
}
"""Trainer of each row, and nnU-Net's own for reference."""


def pairs(part: str) -> list[tuple[str, str]]:
    """The four pairs of rows, without and with a part, that differ in that part only."""
    named = {frozenset(parts): name for name, parts in ROWS.items()}
    return [(name, named[frozenset((*parts, part))]) for name, parts in ROWS.items() if part not in parts]
