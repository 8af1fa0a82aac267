"""Stands in for nnU-Net's commands: notes how it was called and leaves the files that the real command leaves.

Called as ``fake_nnunet.py COMMAND ARGUMENT...``; fails with exit code 7 where DEMO_FAIL names the command.
"""

import json
import os
import shutil
import sys
from pathlib import Path

name, arguments = sys.argv[1], sys.argv[2:]
with Path(os.environ["DEMO_CALLS"]).open("a") as calls:
    print(json.dumps([name, *arguments]), file=calls)
if os.environ.get("DEMO_FAIL") == name:
    sys.exit(7)

dataset = "Dataset001_FundusLesions"
raw = Path(os.environ["nnUNet_raw"]) / dataset
if name == "nnUNetv2_plan_and_preprocess":
    (Path(os.environ["nnUNet_preprocessed"]) / dataset).mkdir(parents=True)
elif name == "nnUNetv2_train":
    trainer = arguments[arguments.index("-tr") + 1]
    fold = Path(os.environ["nnUNet_results"]) / dataset / f"{trainer}__nnUNetPlans__2d" / "fold_0"
    (fold / "validation").mkdir(parents=True, exist_ok=True)
    (fold / "checkpoint_final.pth").touch()
    (fold / "validation" / "summary.json").write_text("{}")
elif name == "nnUNetv2_predict":
    shutil.copytree(raw / "labelsTs", arguments[arguments.index("-o") + 1], dirs_exist_ok=True)
elif name == "nnUNetv2_evaluate_folder":
    perfect = {label: {"Dice": 1.0, "TP": 9, "FP": 0, "FN": 0} for label in ("1", "2")}
    cases = [{"prediction_file": str(file), "metrics": perfect} for file in Path(arguments[1]).glob("*.png")]
    summary = {"metric_per_case": cases, "mean": {label: {"Dice": 1.0} for label in ("1", "2")}}
    (Path(arguments[1]) / "summary.json").write_text(json.dumps(summary))
