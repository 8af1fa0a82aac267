"""Imported first in a process that compiles kernels: loads them without the ops around them, and so without PyTorch.

That takes longer to import than what these processes do.
"""

import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec

import nnunetv2_mamba

folders = nnunetv2_mamba.__path__
for name in ("nnunetv2_mamba.ops", "nnunetv2_mamba.ops.scan", "nnunetv2_mamba.ops.convolution"):
    sys.modules[name] = module_from_spec(PathFinder.find_spec(name, folders))
    folders = sys.modules["nnunetv2_mamba.ops"].__path__
