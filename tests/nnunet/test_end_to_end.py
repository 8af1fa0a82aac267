"""Our trainers in every command of stock nnU-Net, on a toy dataset; each command is a process of its own."""

import json
import re
from dataclasses import replace
from functools import partial
from multiprocessing.pool import ThreadPool
from pathlib import Path
from types import SimpleNamespace

import cc3d
import numpy as np
import pytest
import torch
from nnunetv2.evaluation import evaluate_predictions
from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
from PIL import Image

from tests.nnunet.conftest import CommandError, Workspace, both

pytestmark = pytest.mark.nnunet

VMUNET, S3MAMBA = "nnUNetTrainerVMUNet", "nnUNetTrainerS3Mamba"
TRAINERS = (VMUNET, S3MAMBA)


def checkpoint(model: Path, fold: int | str) -> dict:
    return torch.load(model / f"fold_{fold}" / "checkpoint_final.pth", weights_only=False, map_location="cpu")


def labels(folder: Path) -> dict[str, np.ndarray]:
    return {file.name: np.asarray(Image.open(file)) for file in sorted(folder.glob("*.png"))}


def assert_same_predictions(first: Path, second: Path) -> None:
    expected, found = labels(first), labels(second)
    assert expected.keys() == found.keys() == {"test_0.png", "test_1.png"}
    for name, image in expected.items():
        np.testing.assert_array_equal(image, found[name])


@pytest.fixture(scope="module")
def trained(planned: Workspace) -> Workspace:
    """Both folds of both trainers, with probabilities; S3-Mamba's second fold starts from the weights of its first."""
    both(*[partial(planned.train, trainer, 0, "--npz") for trainer in TRAINERS])
    weights = planned.model(S3MAMBA) / "fold_0" / "checkpoint_final.pth"
    output = both(
        partial(planned.train, S3MAMBA, 1, "--npz", "-pretrained_weights", weights),
        partial(planned.train, VMUNET, 1, "--npz"),
    )[0]
    assert f"Loading pretrained weights from file  {weights}" in output
    return planned


@pytest.fixture(scope="module")
def predicted(trained: Workspace) -> dict[str, Path]:
    """Predictions of each trainer with both folds, with probabilities."""
    calls = [partial(trained.predict, name, (0, 1), f"predicted_{name}", "--save_probabilities") for name in TRAINERS]
    return dict(zip(TRAINERS, both(*calls), strict=True))


@pytest.mark.parametrize("trainer", TRAINERS)
def test_training_leaves_what_stock_training_leaves(trained, trainer):
    for fold in (0, 1):
        folder = trained.model(trainer) / f"fold_{fold}"
        metrics = json.loads((folder / "validation" / "summary.json").read_text())
        assert len(metrics["metric_per_case"]) == 2
        assert len(list((folder / "validation").glob("*.npz"))) == 2
        assert (folder / "progress.png").stat().st_size > 0
        state = checkpoint(trained.model(trainer), fold)
        assert state["trainer_name"] == trainer
        assert state["current_epoch"] == 1


@pytest.mark.parametrize("trainer", TRAINERS)
def test_the_summary_is_nnunets_to_the_last_byte(trained, trainer, tmp_path, monkeypatch):
    # In threads and not in processes that would import torch again.
    threads = SimpleNamespace(get_context=lambda _: SimpleNamespace(Pool=ThreadPool))
    monkeypatch.setattr(evaluate_predictions, "multiprocessing", threads)
    validation = trained.model(trainer) / "fold_0" / "validation"
    evaluate_predictions.compute_metrics_on_folder(
        str(trained.preprocessed / "gt_segmentations"),
        str(validation),
        str(tmp_path / "summary.json"),
        NaturalImage2DIO(),
        ".png",
        [1],
        num_processes=1,
    )
    assert (validation / "summary.json").read_bytes() == (tmp_path / "summary.json").read_bytes()


@pytest.mark.parametrize("trainer", TRAINERS)
def test_the_lesion_report_beside_it_counts_the_same_pixels(trained, trainer):
    for fold in (0, 1):
        validation = trained.model(trainer) / f"fold_{fold}" / "validation"
        report = json.loads((validation / "lesion_summary.json").read_text())
        counts = {case["case"]: case["targets"]["blob"]["counts"] for case in report["cases"]}
        for case in json.loads((validation / "summary.json").read_text())["metric_per_case"]:
            ours = counts.pop(Path(case["prediction_file"]).stem)
            assert {key: ours[key] for key in ("TP", "FP", "FN", "TN")}.items() <= case["metrics"]["1"].items()
            assert ours["lesions"] > 0
        assert counts == {}
        assert report["targets"]["blob"]["froc"]["cases"] == 2
        assert len((validation / "lesions.csv").read_text().splitlines()) > 1


@pytest.mark.parametrize("trainer", TRAINERS)
def test_the_training_says_what_it_cost(trained, trainer):
    cost = json.loads((trained.model(trainer) / "fold_0" / "cost.json").read_text())
    assert cost["trainer"] == trainer
    assert cost["network"].rpartition(".")[2] == trainer.removeprefix("nnUNetTrainer")
    weights = checkpoint(trained.model(trainer), 0)["network_weights"]
    assert 0 < cost["parameters"] <= sum(tensor.numel() for tensor in weights.values())
    assert (cost["epochs"], cost["iterations_per_epoch"]) == (1, 2)
    assert 0 < cost["epoch_seconds"] < 60


@pytest.mark.parametrize("trainer", TRAINERS)
def test_prediction_has_the_shape_of_the_image(predicted, trainer):
    assert {image.shape for image in labels(predicted[trainer]).values()} == {(48, 40)}
    assert len(list(predicted[trainer].glob("*.npz"))) == len(labels(predicted[trainer])) == 2


def test_our_own_command_predicts_the_same_without_the_autoload(trained, predicted):
    off = {"NNUNETV2_MAMBA_AUTOLOAD": "0"}
    with pytest.raises(CommandError, match=f"Could not find requested nnunet trainer {S3MAMBA}"):
        trained.predict(S3MAMBA, (0, 1), "predicted_by_none", **off)
    ours = trained.predict(S3MAMBA, (0, 1), "predicted_by_ours", command=("nnUNetv2_mamba", "predict"), **off)
    assert_same_predictions(predicted[S3MAMBA], ours)


def test_an_operating_point_decides_predictions_and_their_evaluation(trained, predicted):
    model = trained.model(S3MAMBA)
    trained.run("nnUNetv2_mamba", "calibrate", model, "--aim", "recall@3", "-np", 1)
    file = model / "operating_point.json"
    point = json.loads(file.read_text())["targets"]["blob"]
    ours = ("nnUNetv2_mamba", "predict")
    decided = trained.predict(S3MAMBA, (0, 1), "predicted_at_a_point", "--operating-point", file, command=ours)
    assert labels(decided).keys() == {"test_0.png", "test_1.png"}
    assert not list(decided.glob("*.npz"))
    for name, image in labels(decided).items():
        probability = np.load(predicted[S3MAMBA] / f"{Path(name).stem}.npz")["probabilities"][1, 0]
        above = probability >= point["threshold"]
        assert image.shape == above.shape
        assert not (image.astype(bool) & ~above).any()
        sizes = np.bincount(cc3d.connected_components(above.astype(np.uint8), connectivity=8).ravel())[1:]
        assert image.sum() == sizes[sizes >= point["min_component_size"]].sum()
    said = trained.run(
        "nnUNetv2_mamba", "evaluate", model, "--operating-point", model, "-o", trained.root / "at_a_point"
    )
    assert "blob: recall" in said


def test_training_is_resumed_where_it_stopped(trained):
    output = trained.train(VMUNET, 0, "--c", "--npz", NNUNETV2_MAMBA_EPOCHS="2")
    assert re.findall(r"Epoch (\d+) *$", output, flags=re.MULTILINE) == ["1"]
    assert checkpoint(trained.model(VMUNET), 0)["current_epoch"] == 2


def test_validation_alone_writes_the_same_results_again(trained):
    fold = trained.model(S3MAMBA) / "fold_0"
    files = [fold / "validation" / name for name in ("summary.json", "lesion_summary.json", "lesions.csv")]
    before, cost = [file.read_bytes() for file in files], json.loads((fold / "cost.json").read_text())
    for file in (*files, fold / "cost.json"):
        file.unlink()
    trained.train(S3MAMBA, 0, "--val", "--npz")
    assert [file.read_bytes() for file in files] == before
    assert json.loads((fold / "cost.json").read_text()) == cost | {"processes": None}


def test_all_cases_as_one_fold(trained):
    trained.train(S3MAMBA, "all")
    assert len(labels(trained.predict(S3MAMBA, ["all"], "predicted_all"))) == 2


def test_exported_model_predicts_the_same_in_a_fresh_results_folder(trained, predicted):
    archive = trained.root / "model.zip"
    trained.run("nnUNetv2_export_model_to_zip", "-d", 901, "-o", archive, "-c", "2d", "-tr", S3MAMBA, "-f", 0, 1)
    elsewhere = replace(trained, results="fresh_results")
    (trained.root / "fresh_results").mkdir()
    elsewhere.run("nnUNetv2_install_pretrained_model_from_zip", archive)
    assert_same_predictions(predicted[S3MAMBA], elsewhere.predict(S3MAMBA, (0, 1), "predicted_elsewhere"))


def test_best_configuration_ensemble_and_postprocessing(trained, predicted):
    arguments = ["-p", "nnUNetPlans", "-c", "2d", "-tr", *TRAINERS, "-f", 0, 1, "-np", 1]
    trained.run("nnUNetv2_find_best_configuration", 901, *arguments)
    best = json.loads((trained.model(VMUNET).parent / "inference_information.json").read_text())
    assert len(best["all_results"]) == 3

    ensemble = trained.root / "ensemble"
    trained.run("nnUNetv2_ensemble", "-i", *predicted.values(), "-o", ensemble, "-np", 1)
    winner = best["best_model_or_ensemble"]
    assert Path(winner["some_plans_file"]).is_relative_to(trained.root)
    final = trained.root / "final"
    how = ["-pp_pkl_file", winner["postprocessing_file"], "-plans_json", winner["some_plans_file"], "-np", 1]
    trained.run("nnUNetv2_apply_postprocessing", "-i", ensemble, "-o", final, *how)
    assert labels(final).keys() == labels(ensemble).keys() == labels(predicted[VMUNET]).keys()


def test_derived_plans_train_with_the_stock_trainer(planned):
    planned.run("nnUNetv2_mamba", "plan", "--from", "nnUNetPlans", "--network", "S3Mamba", "-d", 901)
    stock, plans = "nnUNetTrainer_1epoch", "nnUNetPlans_S3Mamba"
    # An epoch of the stock trainer has 250 steps: a narrow network and small patches make them quick.
    file = planned.root / "preprocessed" / "Dataset901_Toy" / f"{plans}.json"
    content = json.loads(file.read_text())
    content["configurations"]["2d"]["patch_size"] = [16, 16]
    content["configurations"]["2d"]["architecture"]["arch_kwargs"].update(features_per_stage=[16, 32], d_state=1)
    file.write_text(json.dumps(content))
    planned.train(stock, 0, "-p", plans)
    weights = checkpoint(planned.model(stock, plans), 0)["network_weights"]
    assert {tensor.shape[-1] for key, tensor in weights.items() if key.endswith("A_logs")} == {1}
    assert len(labels(planned.predict(stock, [0], "predicted_stock", "-p", plans))) == 2


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("truncated", r"failed reading zip archive"),
        ("another network", r"Key encoder\.\S+ is missing in the pretrained model weights"),
    ],
    ids=["truncated", "another network"],
)
def test_wrong_pretrained_weights_are_refused_before_training(trained, tmp_path, damage, reason):
    """The reasons are torch's and nnU-Net's: it loads such weights past the trainer."""
    source = trained.model(S3MAMBA if damage == "truncated" else VMUNET) / "fold_0" / "checkpoint_final.pth"
    weights = tmp_path / "weights.pth"
    weights.write_bytes(source.read_bytes()[: 100_000 if damage == "truncated" else None])
    before = (trained.model(S3MAMBA) / "fold_1" / "checkpoint_final.pth").read_bytes()
    with pytest.raises(CommandError) as error:
        trained.train(S3MAMBA, 1, "-pretrained_weights", weights)
    assert re.search(reason, str(error.value).rstrip().rpartition("\n")[2])
    assert "Epoch 0" not in str(error.value)
    assert (trained.model(S3MAMBA) / "fold_1" / "checkpoint_final.pth").read_bytes() == before


def test_truncated_checkpoint_is_refused_in_one_sentence_and_kept(trained):
    fold = trained.model(S3MAMBA) / "fold_2"
    fold.mkdir()
    whole = (trained.model(S3MAMBA) / "fold_0" / "checkpoint_final.pth").read_bytes()
    (fold / "checkpoint_latest.pth").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CommandError) as error:
        trained.train(S3MAMBA, 2, "--c")
    last_line = str(error.value).rstrip().rpartition("\n")[2]
    assert re.search(
        r"checkpoint_latest\.pth cannot be read, it may be truncated .*: restore it, or remove it", last_line
    )
    assert "Epoch 0" not in str(error.value)
    assert [file.name for file in fold.glob("*.pth")] == ["checkpoint_latest.pth"]
    assert (fold / "checkpoint_latest.pth").stat().st_size == len(whole) // 2
