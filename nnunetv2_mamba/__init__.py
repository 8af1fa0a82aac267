"""Mamba segmentation networks for stock nnU-Net v2.

Importing the package is cheap on purpose: neither torch nor nnunetv2 is loaded before something of theirs is needed, so
``nnunetv2_mamba --help`` answers at once and the networks can be used without nnU-Net.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("nnunetv2-mamba")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0+unknown"

__all__ = ["__version__"]
