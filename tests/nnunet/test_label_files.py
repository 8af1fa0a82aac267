"""Label files that people have, through ``nnUNetv2_mamba evaluate`` and ``inspect`` with nnU-Net's own readers."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from PIL import Image

from nnunetv2_mamba import cli

VOLUME = np.zeros((4, 6, 7), np.uint8)
VOLUME[1:3, 1:4, 1:4] = 1
VOLUME[3, 5, 6] = 1

Write = Callable[[Path, np.ndarray], None]


def sitk(path: Path, array: np.ndarray, **header) -> None:
    image = SimpleITK.GetImageFromArray(array, isVector=False)
    image.SetSpacing(header.get("spacing", (1.0, 1.0, 2.0)))
    image.SetOrigin(header.get("origin", (5.0, 6.0, 7.0)))
    image.SetDirection(header.get("direction", tuple(np.eye(3).ravel())))
    SimpleITK.WriteImage(image, str(path))


def channels(path: Path, array: np.ndarray) -> None:
    """One-hot, as a fourth axis."""
    nibabel.save(nibabel.Nifti1Image(np.stack([1 - array, array], -1).transpose(2, 1, 0, 3), np.eye(4)), path)


def vector(path: Path, array: np.ndarray) -> None:
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.stack([1 - array, array], -1), isVector=True), str(path))


def fourth_axis(path: Path, array: np.ndarray) -> None:
    nibabel.save(nibabel.Nifti1Image(array.transpose(2, 1, 0)[..., None], np.eye(4)), path)


def floats(path: Path, array: np.ndarray) -> None:
    values = array.astype(np.float32)
    values[1, 1, 1], values[1, 1, 2], values[0, 0, 0] = 1.0000457, 0.99999994, 1e-7
    sitk(path, values)


def between(path: Path, array: np.ndarray) -> None:
    values = array.astype(np.float32)
    values[1, 1, 1] = 0.998046875
    sitk(path, values)


def not_a_number(path: Path, array: np.ndarray) -> None:
    values = array.astype(np.float32)
    values[0, 0, :3] = np.nan
    sitk(path, values)


def too_large(path: Path, array: np.ndarray) -> None:
    sitk(path, array * np.float32(1e20))


def mask_255(path: Path, array: np.ndarray) -> None:
    sitk(path, array * np.uint8(255))


def empty(path: Path, array: np.ndarray) -> None:
    path.touch()


def cut(path: Path, array: np.ndarray) -> None:
    sitk(path, np.random.default_rng(0).integers(0, 2, array.shape).astype(np.uint8))
    path.write_bytes(path.read_bytes()[: path.stat().st_size - 40])


def cut_inside(path: Path, array: np.ndarray) -> None:
    """A whole gzip file of a volume that is cut off."""
    sitk(path, array)
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-40]))


@pytest.fixture
def folders(tmp_path, monkeypatch) -> tuple[Path, Path]:
    """Folders of references and predictions of a dataset with one label."""
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    raw = tmp_path / "nnUNet_raw" / "Dataset009_Files"
    reference, prediction = raw / "labelsTr", tmp_path / "predicted"
    reference.mkdir(parents=True)
    prediction.mkdir()
    write_dataset(raw, prediction, ".nii.gz")
    return reference, prediction


def write_dataset(*folders: Path, ending: str | None = None, labels: dict | None = None) -> None:
    *folders, ending = folders if ending is None else (*folders, ending)
    dataset = {
        "channel_names": {"0": "CT"},
        "labels": labels or {"background": 0, "lesion": 1},
        "numTraining": 1,
        "file_ending": ending,
        "overwrite_image_reader_writer": "NaturalImage2DIO" if ending == ".png" else "SimpleITKIO",
    }
    for folder in folders:
        (folder / "dataset.json").write_text(json.dumps(dataset))


def evaluate(folders: tuple[Path, Path], *options: str) -> dict:
    reference, prediction = folders
    assert cli.main(["evaluate", "-ref", str(reference), "-pred", str(prediction), "-np", "1", *options]) == 0
    return json.loads((prediction / "lesion_summary.json").read_text())


def dice(summary: dict) -> float:
    return summary["targets"]["lesion"]["mean"]["DSC"]


REFUSED = [
    (channels, ".nii.gz", r"has 4 axes \(2 x 4 x 6 x 7\), .*one label map is expected"),
    (vector, ".nii.gz", r"has 4 axes \(4 x 6 x 7 x 2\), .*one label map is expected"),
    (between, ".nii.gz", r"values between labels in 1 voxels, such as 0\.998046875"),
    (not_a_number, ".nii.gz", r"has 3 voxels that are NaN or infinite"),
    (not_a_number, ".nii", r"has 3 voxels that are NaN or infinite"),
    (not_a_number, ".mha", r"has 3 voxels that are NaN or infinite"),
    (too_large, ".nii.gz", r"has values as large as 1\.00000002e\+20: this is not a label map"),
    (mask_255, ".nii.gz", r"has the values 255, .*: if 255 stands for label 1, give --values 255=1"),
    (empty, ".nii.gz", r"is empty \(0 bytes\)"),
    (empty, ".nii", r"is empty \(0 bytes\)"),
    (cut, ".nii", r"is cut off \(\d+ bytes\)"),
    (cut, ".nii.gz", r"is cut off \(\d+ bytes\)"),
    (cut_inside, ".nii.gz", r"is cut off \(\d+ bytes\)"),
    (cut, ".nrrd", r"\(\d+ bytes\) cannot be read as a segmentation, because it is cut off or"),
    (cut, ".mha", r"is cut off \(\d+ bytes\): copy or predict it again"),
]


@pytest.mark.parametrize(("write", "ending", "sentence"), REFUSED)
@pytest.mark.parametrize("which", ["reference", "prediction"])
def test_evaluate_refuses_in_one_sentence(folders, write: Write, ending, sentence, which):
    write_dataset(folders[1], ending)
    for kind, folder in zip(("reference", "prediction"), folders, strict=True):
        (write if kind == which else sitk)(folder / f"case{ending}", VOLUME)
    with pytest.raises(SystemExit, match=sentence) as refusal:
        evaluate(folders)
    file = dict(zip(("reference", "prediction"), folders, strict=True))[which] / f"case{ending}"
    assert str(file) in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(("write", "ending", "sentence"), REFUSED)
def test_inspect_refuses_the_same(folders, write: Write, ending, sentence):
    reference, _ = folders
    write_dataset(reference.parent, ending)
    write(reference / f"case{ending}", VOLUME)
    with pytest.raises(SystemExit, match=r"255 too: if 255 stands" if write is mask_255 else sentence) as refusal:
        cli.main(["inspect", "-d", "9", "-np", "1", "-o", str(reference.parent.parent / "out")])
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("write", [fourth_axis, floats])
def test_what_holds_one_label_a_voxel_is_served(folders, write: Write):
    reference, prediction = folders
    write(reference / "case.nii.gz", VOLUME)
    sitk(prediction / "case.nii.gz", VOLUME, spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0))
    assert dice(evaluate(folders)) == 1.0


def test_rounded_labels_are_said_with_file_and_deviation(folders):
    reference, prediction = folders
    floats(reference / "case.nii.gz", VOLUME)
    sitk(prediction / "case.nii.gz", VOLUME)
    (warning,) = evaluate(folders)["warnings"]
    assert str(reference / "case.nii.gz") in warning
    assert "up to 4.6e-05 from a whole number" in warning


def test_values_are_replaced_where_somebody_says_so(folders):
    reference, prediction = folders
    mask_255(reference / "case.nii.gz", VOLUME)
    sitk(prediction / "case.nii.gz", VOLUME)
    summary = evaluate(folders, "--values", "255=1")
    assert dice(summary) == 1.0
    assert summary["values"] == {"255": 1}
    assert cli.main(["inspect", "-d", "9", "-np", "1", "--values", "255=1", "-o", str(reference.parent.parent)]) == 0


@pytest.mark.parametrize("word", ["255", "a=b", "255=1.5", "=1"])
def test_a_replacement_that_is_none_is_refused(folders, word):
    sitk(folders[0] / "case.nii.gz", VOLUME)
    sitk(folders[1] / "case.nii.gz", VOLUME)
    with pytest.raises(SystemExit, match="is not OLD=NEW with two labels"):
        evaluate(folders, "--values", word)


def test_a_file_called_gz_that_is_not_compressed_is_served(folders, tmp_path):
    sitk(tmp_path / "case.nii", VOLUME)
    for folder in folders:
        (folder / "case.nii.gz").write_bytes((tmp_path / "case.nii").read_bytes())
    assert dice(evaluate(folders)) == 1.0


def test_an_image_with_data_after_its_end_is_served(folders):
    write_dataset(folders[1], ".png")
    for folder in folders:
        Image.fromarray(VOLUME[1]).save(folder / "case.png")
        with (folder / "case.png").open("ab") as file:
            file.write(b"more")
    assert dice(evaluate(folders)) == 1.0


def turned() -> tuple[float, ...]:
    angle = 1e-3
    return (np.cos(angle), -np.sin(angle), 0, np.sin(angle), np.cos(angle), 0, 0, 0, 1)


@pytest.mark.parametrize(
    "header", [{"origin": (5.02, 6.0, 7.0)}, {"direction": turned()}, {"spacing": (1.001, 1.0, 2.0)}]
)
def test_headers_that_differ_by_rounding_are_the_same_grid(folders, header):
    sitk(folders[0] / "case.nii.gz", VOLUME)
    sitk(folders[1] / "case.nii.gz", VOLUME, **header)
    summary = evaluate(folders)
    assert (summary["warnings"], summary["geometry"], summary["geometry_tolerance_voxels"]) == ([], "world", 0.1)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"origin": (6.0, 6.0, 7.0)}, "is up to 1 voxels away"),
        ({"origin": (0.0, 0.0, 0.0), "spacing": (1.0, 1.0, 1.0)}, "does not say where its voxels are"),
    ],
)
def test_headers_that_differ_more_are_a_warning_that_can_be_answered(folders, header, words, capsys):
    sitk(folders[0] / "case.nii.gz", VOLUME)
    sitk(folders[1] / "case.nii.gz", VOLUME, **header)
    summary = evaluate(folders)
    assert dice(summary) == 1.0
    (warning,) = summary["warnings"]
    assert words in warning
    assert "--geometry voxels" in warning
    assert f"warning: {warning}" in capsys.readouterr().out
    confirmed = evaluate(folders, "--geometry", "voxels")
    assert (confirmed["warnings"], confirmed["geometry"]) == ([], "voxels")


def test_another_shape_stays_an_error(folders):
    sitk(folders[0] / "case.nii.gz", VOLUME)
    sitk(folders[1] / "case.nii.gz", VOLUME[1:])
    for options in ((), ("--geometry", "voxels")):
        with pytest.raises(SystemExit, match="has the shape 3 x 6 x 7 and its reference"):
            evaluate(folders, *options)


def test_a_flipped_file_is_read_as_it_lies(folders):
    write_dataset(folders[1], ".mha")
    flipped = (-1, 0, 0, 0, -1, 0, 0, 0, 1)
    for folder in folders:
        sitk(folder / "case.mha", VOLUME, direction=flipped)
    assert (dice(evaluate(folders)), evaluate(folders)["warnings"]) == (1.0, [])


@pytest.mark.parametrize(("declared", "there"), [(".nii.gz", ".nii"), (".nii", ".nii.gz")])
def test_compressed_or_not_is_the_same(folders, declared, there):
    raw = folders[0].parent
    write_dataset(raw, folders[1], declared)
    sitk(folders[0] / f"case{there}", VOLUME)
    sitk(folders[1] / f"case{declared}", VOLUME)
    assert dice(evaluate(folders)) == 1.0
    assert cli.main(["inspect", "-d", "9", "-np", "1", "-o", str(raw)]) == 0
    assert json.loads((raw / "lesion_inspection.json").read_text())["targets"]["lesion"]["lesions"] == 2


def test_two_files_of_a_case_are_refused(folders):
    for ending in (".nii", ".nii.gz"):
        sitk(folders[0] / f"case{ending}", VOLUME)
    sitk(folders[1] / "case.nii.gz", VOLUME)
    with pytest.raises(SystemExit, match=r"has two files of the case case, case\.nii\.gz and case\.nii: remove one"):
        evaluate(folders)


@pytest.mark.parametrize("mode", ["bool", "L"])
def test_images_with_a_bit_or_a_byte_a_pixel_are_served(folders, mode):
    write_dataset(folders[1], ".png")
    for folder in folders:
        Image.fromarray(VOLUME[1].astype(bool) if mode == "bool" else VOLUME[1]).save(folder / "case.png")
    assert dice(evaluate(folders)) == 1.0


@pytest.mark.parametrize("problem", ["colour", "cut off"])
def test_images_that_are_no_label_map_are_refused(folders, problem):
    write_dataset(folders[1], ".png")
    for folder in folders:
        Image.fromarray(VOLUME[1]).save(folder / "case.png")
    file = folders[1] / "case.png"
    if problem == "colour":
        Image.fromarray(np.stack([VOLUME[1]] * 3, -1)).save(file)
    else:
        file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(SystemExit, match=r"one label map is expected|is cut off"):
        evaluate(folders)
