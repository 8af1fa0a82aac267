"""Calls several commands of nnU-Net in one process, which spares the seconds of importing it for each.

Reads a JSON list of argument lists, each with the command's name first, from standard input.
"""

import json
import sys

from nnunetv2.inference.predict_from_raw_data import predict_entry_point
from nnunetv2.run.run_training import run_training_entry

ENTRY_POINTS = {"nnUNetv2_train": run_training_entry, "nnUNetv2_predict": predict_entry_point}

if __name__ == "__main__":
    for command in json.load(sys.stdin):
        sys.argv = command
        ENTRY_POINTS[command[0]]()
