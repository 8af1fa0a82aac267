"""Cases in pictures: the right slice, the right image, or a sentence that says what is missing."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from nnunetv2_mamba.evaluation.folder import CaseFiles, Settings, evaluate_files
from nnunetv2_mamba.report import ReportedModel
from nnunetv2_mamba.report.choice import Choice
from nnunetv2_mamba.report.overlays import view
from nnunetv2_mamba.report.pictures import MAX_SIDE, Pictures, data_uri, grey_levels
from tests.report.models import TARGETS, ArrayReader, VolumeReader, model


def pixels(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def box(path):
    """Left, right, top and bottom of the data of an SVG path."""
    x, y = ([float(point.split(",")[axis]) for point in path.strip("MZ").split("L")] for axis in (0, 1))
    return min(x), max(x), min(y), max(y)


def volume(tmp_path, image=None):
    """A lesion of 8 voxels in slice 2, a true positive, and one of 2 voxels in slice 5, missed."""
    reference = np.zeros((6, 8, 10), dtype=np.uint8)
    reference[0:2, 2, 0:4], reference[4, 5, 6:8] = 1, 1
    prediction = np.where(np.arange(8)[:, None] == 2, reference, 0).astype(np.uint8)
    np.save(tmp_path / "r.npy", reference)
    np.save(tmp_path / "p.npy", prediction)
    if image is not None:
        np.save(tmp_path / "a_0000.npy", image)
    files = [CaseFiles("a", tmp_path / "r.npy", tmp_path / "p.npy")]
    evaluation = evaluate_files(files, Settings(VolumeReader(), TARGETS))
    return ReportedModel("model", evaluation.summary, evaluation.lesions, VolumeReader(), images=tmp_path)


def test_a_volume_is_cut_across_its_thick_slices_where_most_is_wrong(tmp_path):
    image = np.arange(8)[None, None, :, None] * np.ones((1, 6, 8, 10))
    pictures = Pictures()
    shown = view(Choice("a", ("worst",), (0,)), [volume(tmp_path, image)], TARGETS[0], pictures)
    assert shown.slice == "slice 6 of 8; numbers are of the whole volume"
    (overlay,) = shown.overlays
    # Rows are 1 mm apart, columns 2 mm.
    assert (overlay.width, overlay.height) == (20, 6)
    assert overlay.number == {"true_positive": 1, "missed": 1, "predicted": 1, "false_positive": 0}
    assert [kind for kind, path in overlay.outlines.items() if path] == ["missed"]
    assert box(overlay.outlines["missed"]) == (12, 16, 4, 5)
    low, high = grey_levels(image)
    assert pixels(pictures.all[0].uri)[0, 0] == pytest.approx(255 * (5 - low) / (high - low), abs=1)


def test_a_volume_without_mistakes_is_cut_through_its_lesions(tmp_path):
    source = volume(tmp_path)
    np.save(tmp_path / "p.npy", np.load(tmp_path / "r.npy"))
    shown = view(Choice("a", (), (0,)), [source], TARGETS[0], Pictures())
    assert shown.slice.startswith("slice 3 of 8")
    assert shown.overlays[0].outlines["true_positive"] == shown.overlays[0].outlines["predicted"] != ""


def test_two_models_share_an_image(tmp_path):
    sources = [model(tmp_path, "one", 0.8), model(tmp_path, "two", 0.4, seed=1)]
    pictures = Pictures()
    shown = view(Choice("case_00", ("best",), (0, 1)), sources, TARGETS[0], pictures)
    assert [overlay.picture for overlay in shown.overlays] == [0, 0]
    assert len(pictures.all) == 1
    assert shown.remark == shown.slice == ""


def test_without_an_image_the_background_is_grey_and_a_sentence_says_why(tmp_path):
    shown = view(Choice("case_00", (), (0,)), [model(tmp_path, "m", 0.8, images=False)], TARGETS[0], Pictures())
    assert shown.overlays[0].picture is None
    assert "no image was found" in shown.remark


def test_an_image_of_another_shape_is_not_shown(tmp_path):
    shown = view(Choice("a", (), (0,)), [volume(tmp_path, np.zeros((1, 6, 8, 9)))], TARGETS[0], Pictures())
    assert shown.overlays[0].picture is None
    assert "(6, 8, 9)" in shown.remark


def test_an_image_that_cannot_be_read_is_not_shown(tmp_path):
    source = volume(tmp_path)
    (tmp_path / "a_0000.npy").write_text("no array", encoding="utf-8")
    assert "cannot be read" in view(Choice("a", (), (0,)), [source], TARGETS[0], Pictures()).remark


def test_names_with_characters_of_patterns_find_their_own_image(tmp_path):
    source = model(tmp_path, "m", 0.8, cases=["a[1]", "a1", "a"])
    assert [source.image_file(case).name for case in ("a[1]", "a1", "a")] == [
        "a[1]_0000.npy",
        "a1_0000.npy",
        "a_0000.npy",
    ]


def test_photographs_keep_their_colours_and_large_images_become_smaller():
    photograph = np.zeros((3, 40, 60))
    photograph[0] = 255
    assert pixels(data_uri(photograph, grey_levels(photograph))).tolist() == [[[255, 0, 0]] * 60] * 40
    large = pixels(data_uri(np.ones((10, 4 * MAX_SIDE)), (0, 1)))
    assert large.shape[1] == MAX_SIDE


def test_grey_levels_leave_out_extremes_and_survive_flat_images():
    image = np.append(np.linspace(-50, 50, 1000), 1e6)
    low, high = grey_levels(image)
    assert -50 <= low < -45
    assert 45 < high <= 50
    assert grey_levels(np.full((4, 4), 7.0)) == (7.0, 8.0)


def test_photographs_keep_their_brightness():
    assert grey_levels(np.array([[3.0, 90.0], [120.0, 200.0]])) == (0, 255)


def test_a_missing_prediction_is_drawn_as_empty(tmp_path):
    reference = np.zeros((1, 8, 8), dtype=np.uint8)
    reference[0, 3, 3] = 1
    np.save(tmp_path / "r.npy", reference)
    evaluation = evaluate_files(
        [CaseFiles("a", tmp_path / "r.npy", None)], Settings(ArrayReader(), TARGETS), allow_missing=True
    )
    source = ReportedModel("model", evaluation.summary, evaluation.lesions, ArrayReader())
    (overlay,) = view(Choice("a", (), (0,)), [source], TARGETS[0], Pictures()).overlays
    assert overlay.number == {"true_positive": 0, "missed": 1, "predicted": 0, "false_positive": 0}


def overlay_of(reference, prediction, folder):
    """The only picture of the only case of a model."""
    np.save(folder / "r.npy", reference)
    np.save(folder / "p.npy", prediction)
    files = [CaseFiles("a", folder / "r.npy", folder / "p.npy")]
    evaluation = evaluate_files(files, Settings(ArrayReader(), TARGETS))
    source = ReportedModel("model", evaluation.summary, evaluation.lesions, ArrayReader())
    (overlay,) = view(Choice("a", (), (0,)), [source], TARGETS[0], Pictures()).overlays
    return overlay


def test_every_voxel_is_outlined_by_its_status(tmp_path):
    reference, prediction = (np.zeros((1, 10, 20), dtype=np.uint8) for _ in range(2))
    for row, column in ((2, 2), (2, 3), (7, 7)):
        reference[0, row, column] = 1
    for row, column in ((2, 3), (2, 4), (5, 15)):
        prediction[0, row, column] = 1
    overlay = overlay_of(reference, prediction, tmp_path)
    assert {kind: box(path) for kind, path in overlay.outlines.items()} == {
        "true_positive": (2, 4, 2, 3),
        "predicted": (3, 5, 2, 3),
        "missed": (7, 8, 7, 8),
        "false_positive": (15, 16, 5, 6),
    }
