"""Stands in for nnU-Net's commands and ours: notes how it was called and leaves the files that the real command leaves.

Called as ``fake_nnunet.py COMMAND ARGUMENT...``; fails with exit code 7 where DEMO_FAIL is the beginning of the call.
"""

import json
import os
import shutil
import sys
from pathlib import Path

name, arguments = sys.argv[1], sys.argv[2:]
with Path(os.environ["DEMO_CALLS"]).open("a") as calls:
    print(json.dumps([name, *arguments]), file=calls)
if (failing := os.environ.get("DEMO_FAIL")) and " ".join(sys.argv[1:]).startswith(failing):
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
    summary = {"mean": {label: {"Dice": 1.0} for label in ("1", "2")}}
    (Path(arguments[1]) / "summary.json").write_text(json.dumps(summary))
elif arguments[0] == "evaluate":
    predictions = Path(arguments[arguments.index("-pred") + 1])
    perfect = {"counts": {"lesions": 4, "true_positive_lesions": 3}, "metrics": {"DSC": 1.0}}
    names = ("hard_exudate", "haemorrhage")
    report = {
        "targets": {
            name: {"labels": [label], "pooled": {"DSC": 0.9, "fp_per_case": 0.5}} for label, name in enumerate(names, 1)
        },
        "cases": [{"case": file.stem, "targets": dict.fromkeys(names, perfect)} for file in predictions.glob("*.png")],
    }
    (predictions / "lesion_summary.json").write_text(json.dumps(report))
elif arguments[0] == "report":
    Path(arguments[arguments.index("-o") + 1]).write_text("<html>")
