"""``python -m nnunetv2_mamba`` is the command ``nnUNetv2_mamba``, for environments without its script."""

import sys

from nnunetv2_mamba.cli import main

if __name__ == "__main__":
    sys.exit(main())
