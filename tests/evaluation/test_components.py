"""Which voxels make one component, and what dilation joins."""

import numpy as np
import pytest
from scipy import ndimage

from nnunetv2_mamba.evaluation.components import dilated, label_components, label_lesions
from tests.evaluation.drawings import masks

# scipy's ranks of structures, and how many neighbours they make.
RANK = {"faces": 1, "edges": 2, "corners": 3}


def reference_of(text: str) -> np.ndarray:
    return masks(text)[0]


AT_A_CORNER = """
    rr..
    rr..
    ..rr
    ..rr
"""
AT_A_FACE = """
    r. r.
    .. ..
"""
AT_AN_EDGE = """
    r. .r
    .. ..
"""
AT_A_CORNER_3D = """
    r. ..
    .. .r
"""


@pytest.mark.parametrize(
    ("drawing", "faces", "edges", "corners"),
    [
        pytest.param(AT_A_CORNER, 2, 1, 1, id="corner of pixels"),
        pytest.param(AT_A_FACE, 1, 1, 1, id="face of voxels"),
        pytest.param(AT_AN_EDGE, 2, 1, 1, id="edge of voxels"),
        pytest.param(AT_A_CORNER_3D, 2, 2, 1, id="corner of voxels"),
        pytest.param("...", 0, 0, 0, id="nothing"),
        pytest.param(".r.", 1, 1, 1, id="one pixel"),
        pytest.param("rrr", 1, 1, 1, id="everything"),
    ],
)
def test_connectivity_decides_what_touches(drawing, faces, edges, corners):
    mask = reference_of(drawing)
    numbers = [label_components(mask, connectivity)[1] for connectivity in ("faces", "edges", "corners")]
    assert numbers == [faces, edges, corners]


@pytest.mark.parametrize("connectivity", RANK)
@pytest.mark.parametrize("shape", [(24, 31), (9, 14, 11), (1, 1), (1, 40), (3, 1, 8)], ids=str)
def test_components_are_those_of_scipy(shape, connectivity):
    rng = np.random.default_rng(0)
    structure = ndimage.generate_binary_structure(len(shape), RANK[connectivity])
    for density in (0.1, 0.25, 0.4, 0.5, 0.7):
        for _ in range(8):
            mask = rng.random(shape) < density
            labels, number = label_components(mask, connectivity)
            theirs, their_number = ndimage.label(mask, structure)
            assert number == their_number
            # The same partition, whatever its parts are called: each number goes with one of theirs, and back.
            pairs = set(zip(labels.ravel().tolist(), theirs.ravel().tolist(), strict=True))
            assert len(pairs) == len({ours for ours, _ in pairs}) == len({other for _, other in pairs})
            assert ((labels > 0) == mask).all()


@pytest.mark.parametrize(
    "window",
    [np.s_[3:-2, ::2, 5:16], np.s_[2:9, 3:4, 5:6], np.s_[3:4, 2:9, 5:6], np.s_[3:4, 5:6, 2:9], np.s_[4:5, 2:20, 3:19]],
    ids=["volume", "column along z", "column along y", "column along x", "slice"],
)
def test_a_part_of_a_larger_array_is_labelled_like_a_copy(window):
    rng = np.random.default_rng(1)
    for density in (0.3, 0.6, 1.0):
        part = (rng.random((30, 40, 20)) < density)[window]
        labels, number = label_components(part)
        copied, expected = label_components(part.copy())
        assert number == expected
        assert (labels == copied).all()


@pytest.mark.parametrize(
    ("spacing", "millimetres", "steps", "expected"),
    [
        ((1.0, 1.0), 1.0, 0, ".....  ..r..  .rrr.  ..r..  ....."),
        ((1.0, 1.0), 1.5, 0, ".....  .rrr.  .rrr.  .rrr.  ....."),
        # 2 mm are one row, but two columns; a row and a column are 2.24 mm.
        ((2.0, 1.0), 2.0, 0, ".....  ..r..  rrrrr  ..r..  ....."),
        ((2.0, 1.0), 0.9, 0, ".....  .....  ..r..  .....  ....."),
        ((2.0, 1.0), 0.0, 1, ".....  .rrr.  .rrr.  .rrr.  ....."),
        ((2.0, 1.0), 0.0, 2, "rrrrr  rrrrr  rrrrr  rrrrr  rrrrr"),
    ],
)
def test_dilation(spacing, millimetres, steps, expected):
    pixel = reference_of("\n".join([".....", ".....", "..r..", ".....", "....."]))
    assert (
        dilated(pixel, spacing=spacing, millimetres=millimetres, steps=steps)
        == reference_of("\n".join(expected.split()))
    ).all()


def test_a_step_in_a_volume_goes_over_faces_and_edges():
    voxel = np.zeros((5, 5, 5), bool)
    voxel[2, 2, 2] = True
    reached = dilated(voxel, spacing=(1.0, 1.0, 1.0), millimetres=0.0, steps=1)
    assert reached.sum() == 1 + 6 + 12
    assert not reached[1, 1, 1]


@pytest.mark.parametrize(("millimetres", "steps"), [(2.0, 0), (0.0, 2)])
def test_nothing_dilates_to_nothing(millimetres, steps):
    assert not dilated(np.zeros((3, 4), bool), spacing=(1.0, 1.0), millimetres=millimetres, steps=steps).any()


@pytest.mark.parametrize(
    ("drawing", "number"),
    [
        # One step from each side: they overlap, are neighbours, leave one pixel free.
        ("r.r...", 1),
        ("r..r..", 1),
        ("r...r.", 2),
    ],
)
@pytest.mark.parametrize(("millimetres", "steps"), [(1.0, 0), (0.0, 1)])
def test_lesions_whose_dilations_touch_are_one(drawing, number, millimetres, steps):
    mask = reference_of(drawing)
    labels, reach, found = label_lesions(
        mask, spacing=(1.0, 1.0), connectivity="corners", millimetres=millimetres, steps=steps
    )
    assert found == number == reach.max()
    assert ((labels > 0) == mask).all()
    assert (reach[mask] == labels[mask]).all()


def test_lesions_are_as_far_apart_as_the_spacing_says():
    mask = reference_of("r.r")
    for millimetres, lesions in ((1.9, 2), (2.0, 1)):
        found = label_lesions(mask, spacing=(1.0, 2.0), connectivity="corners", millimetres=millimetres)
        assert found[2] == lesions
