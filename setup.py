"""Maps the two folders that nnU-Net people look for first into the package; everything else is in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["nnunetv2_mamba*"]), "nnunetv2_mamba.trainers", "nnunetv2_mamba.plans"],
    package_dir={"nnunetv2_mamba.trainers": "trainers", "nnunetv2_mamba.plans": "plans"},
)
