"""``python -m benchmarks.tcma_effect DEMO``: does a trained network use TCMA? With it and with it switched off.

DEMO is a folder in which ``nnUNetv2_mamba demo`` has run. Off means gains of zero: the modulated masks vanish, and with
them everything that TCMA feeds back into the decoder. The held-out images are predicted both ways.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from benchmarks.machine import report


def predictions(predictor: nnUNetPredictor, images: list[Path]) -> np.ndarray:
    """Class of each pixel of all images, flattened."""
    reader = NaturalImage2DIO()
    read = (reader.read_images([str(image)]) for image in images)
    return np.concatenate([predictor.predict_single_npy_array(*case).ravel() for case in read])


def dice(truth: np.ndarray, predicted: np.ndarray, label: int) -> float:
    """Dice of a class over all pixels."""
    both = np.sum((truth == label) & (predicted == label))
    return float(2 * both / max(np.sum(truth == label) + np.sum(predicted == label), 1))


def measure(model: Path, raw: Path) -> dict[str, Any]:
    """Dice with and without TCMA, and how many pixels differ."""
    images = sorted((raw / "imagesTs").glob("*.png"))
    labels = [raw / "labelsTs" / image.name.replace("_0000", "") for image in images]
    truth = np.concatenate([NaturalImage2DIO().read_seg(str(label))[0].ravel() for label in labels])
    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(model), (0,), "checkpoint_final.pth")
    on = predictions(predictor, images)
    (parameters,) = predictor.list_of_parameters
    gains = {name: tensor.clone() for name, tensor in parameters.items() if name.endswith(".gain")}
    for name in gains:
        parameters[name].zero_()
    off = predictions(predictor, images)
    names = {name: value for name, value in json.loads((raw / "dataset.json").read_text())["labels"].items() if value}
    foreground = (on > 0) | (off > 0)
    return {
        "gains": {name: tensor.tolist() for name, tensor in gains.items()},
        "dice_with": {name: dice(truth, on, value) for name, value in names.items()},
        "dice_without": {name: dice(truth, off, value) for name, value in names.items()},
        "changed_pixels": int(np.sum(on != off)),
        "changed_over_predicted_foreground": float(np.sum(on != off) / max(foreground.sum(), 1)),
    }


def main() -> None:
    """Predict both ways and report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("demo", type=Path, help="folder of a finished nnUNetv2_mamba demo")
    demo = parser.parse_args().demo
    (raw,) = (demo / "nnUNet_raw").iterdir()
    model = demo / "nnUNet_results" / raw.name / "nnUNetTrainerS3Mamba__nnUNetPlans__2d"
    results = measure(model, raw)
    rows = [("class", "Dice with TCMA", "switched off")]
    for name, value in results["dice_with"].items():
        rows.append((name, f"{value:.3f}", f"{results['dice_without'][name]:.3f}"))
    rows.append(("changed pixels", str(results["changed_pixels"]), ""))
    rows.append(("of predicted lesion", f"{results['changed_over_predicted_foreground']:.1%}", ""))
    report("tcma_effect", results, rows)


if __name__ == "__main__":
    main()
