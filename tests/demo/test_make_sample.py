"""The script that cuts the sample replaces earlier samples and nothing else."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nnunetv2_mamba.demo.dataset import cases_in

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "make_demo_sample.py"


@pytest.fixture
def script(monkeypatch):
    """The script as a module; benchmarks are no part of the package."""
    spec = importlib.util.spec_from_file_location("make_demo_sample", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tiles(tmp_path):
    """One tile of one eye for training and one held out, each with a lesion of either class."""
    folder = tmp_path / "tiles"
    for suffix, eye in (("Tr", 1), ("Ts", 17)):
        (folder / f"images{suffix}").mkdir(parents=True)
        (folder / f"labels{suffix}").mkdir()
        label = np.zeros((384, 384), np.uint8)
        label[20:40, 20:40], label[300:320, 300:330] = 1, 2
        name = f"IDRiD_{eye:02}_y0000_x0000"
        Image.fromarray(np.full((384, 384, 3), 90, np.uint8)).save(folder / f"images{suffix}" / f"{name}_0000.png")
        Image.fromarray(label).save(folder / f"labels{suffix}" / f"{name}.png")
    (folder / "dataset.json").write_text(json.dumps({"labels": {"background": 0}}))
    return folder


def files_in(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_same_tiles_give_the_same_sample_over_an_earlier_one(script, tiles, tmp_path):
    out = tmp_path / "out"
    script.main(tiles, out)
    first = files_in(out)
    (out / "labelsTr" / "left_over.png").touch()
    script.main(tiles, out)
    assert files_in(out) == first
    for suffix in ("Tr", "Ts"):
        labels = [
            np.asarray(Image.open(out / f"labels{suffix}" / f"{case}.png"))
            for case in cases_in(out / f"labels{suffix}")
        ]
        assert {1, 2} <= set(np.unique(labels))
        assert sum(not label.any() for label in labels) == 1


@pytest.mark.parametrize("name", ["thesis.txt", "ATTRIBUTION.txt"])
def test_a_folder_of_something_else_is_refused_untouched(script, tiles, tmp_path, name):
    out = tmp_path / "mine"
    out.mkdir()
    (out / name).write_text("mine")
    with pytest.raises(FileExistsError, match="mine exists and is not a sample of this program"):
        script.main(tiles, out)
    assert files_in(out) == {name: b"mine"}
