"""Cuts the sample that ``nnunetv2_mamba demo`` ships out of the IDRiD tiles; same input, same sample.

Usage: ``python -m benchmarks.make_demo_sample TILES [OUT]`` where TILES is a folder in nnU-Net raw format whose cases
are called ``<eye>_<tile>``, such as ``IDRiD_01_y0136_x0496``. OUT, the shipped sample where not given, is new
or an earlier sample, which is replaced.

Candidates are all 128x128 windows of a tile at steps of 32 pixels, nothing is rescaled. From each eye come

- the three windows with the largest area of haemorrhages, which are few and faint: fewer of them teach nothing,
- two windows with hard exudates, at one and at three quarters of the eye's windows ordered by exudate area,
- one lesion-free window, the median in brightness, so that neither the black rim nor the bright disc is favoured.

Windows of an eye do not overlap. The rule is the same for training and held-out eyes and looks at labels and brightness
only, never at a prediction. Windows that lesions fill by more than 40 % are left out: they lie inside one large
pre-retinal haemorrhage.
"""

import json
import shutil
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

CROP = 128
MIN_LESION_PIXELS = 25
MAX_LESION_FRACTION = 0.4
STEP = 32
HAEMORRHAGE_CROPS = 3
QUARTILES = (0.25, 0.75)
EXUDATE, HAEMORRHAGE = 1, 2
SAMPLE = Path(__file__).parents[1] / "nnunetv2_mamba" / "demo" / "sample"

ATTRIBUTION = """\
The images and lesion masks in this folder are cut from the Indian Diabetic Retinopathy Image Dataset (IDRiD).

    Prasanna Porwal, Samiksha Pachade, Ravi Kamble, Manesh Kokare, Girish Deshmukh, Vivek Sahasrabuddhe,
    Fabrice Meriaudeau: Indian Diabetic Retinopathy Image Dataset (IDRiD), IEEE DataPort, 2018, doi:10.21227/H25W98

Licence: Creative Commons Attribution 4.0 International, https://creativecommons.org/licenses/by/4.0/

Changed with respect to the original:
- photographs IDRiD_01 to IDRiD_20 of the segmentation subset were reduced from 4288x2848 to 2144x1424 pixels by
  averaging 2x2 pixels, their masks likewise with a threshold of one half, and cut into tiles;
- crops of 128x128 pixels were taken from the tiles by the rule in benchmarks/make_demo_sample.py of nnunetv2-mamba;
- the masks of hard exudates (label 1) and haemorrhages (label 2) were joined into one label image, haemorrhages
  winning where both meet; the exudate masks went through a JPEG encoding on the way and were thresholded again; all
  other masks were left out.
File names keep the number of the photograph: IDRiD_01 to IDRiD_16 are for training, IDRiD_17 to IDRiD_20 are held out.
"""
# Enough to tell a sample by, whatever an earlier version said below.
OURS = ATTRIBUTION.partition("\n")[0]


@dataclass(frozen=True)
class Crop:
    """A square piece of a tile.

    Attributes:
        tile: name of the tile.
        corner: first row and column in the tile.
        image: colours (CROP, CROP, 3), uint8.
        label: classes (CROP, CROP), uint8.
    """

    tile: str
    corner: tuple[int, int]
    image: np.ndarray
    label: np.ndarray

    @property
    def name(self) -> str:
        """Case name."""
        return "{}_r{:03d}c{:03d}".format(self.tile, *self.corner)

    def overlaps(self, other: "Crop") -> bool:
        """Whether both show a common pixel."""
        return self.tile == other.tile and all(
            abs(a - b) < CROP for a, b in zip(self.corner, other.corner, strict=True)
        )

    def area(self, label: int) -> int:
        """Number of pixels of a class."""
        return int((self.label == label).sum())


def crops_of_tile(image_file: Path, label_file: Path) -> list[Crop]:
    """All crops of a tile that lesions do not fill."""
    image, label = np.asarray(Image.open(image_file).convert("RGB")), np.asarray(Image.open(label_file))
    crops = []
    for row in range(0, image.shape[0] - CROP + 1, STEP):
        for column in range(0, image.shape[1] - CROP + 1, STEP):
            window = np.s_[row : row + CROP, column : column + CROP]
            crops.append(Crop(label_file.stem, (row, column), image[window], label[window]))
    return [crop for crop in crops if (crop.label > 0).mean() <= MAX_LESION_FRACTION]


def select(crops: list[Crop]) -> list[Crop]:
    """The crops of one eye that go into the sample."""
    chosen: list[Crop] = []

    def candidates(label: int) -> list[Crop]:
        rest = [crop for crop in crops if crop.area(label) >= MIN_LESION_PIXELS and not any(map(crop.overlaps, chosen))]
        return sorted(rest, key=lambda crop: (crop.area(label), crop.name))

    for _ in range(HAEMORRHAGE_CROPS):
        chosen += candidates(HAEMORRHAGE)[-1:]
    for quantile in QUARTILES:
        chosen += at_quantile(candidates(EXUDATE), quantile)
    free = [crop for crop in crops if not crop.label.any() and not any(map(crop.overlaps, chosen))]
    return chosen + at_quantile(sorted(free, key=lambda crop: (crop.image.mean(), crop.name)), 0.5)


def at_quantile(crops: list[Crop], quantile: float) -> list[Crop]:
    """The crop at a place of an ordered list, none where the list is empty."""
    return crops[int(quantile * len(crops)) :][:1]


def write(crops: list[Crop], out: Path, suffix: str) -> None:
    """Writes cases in nnU-Net's raw format into ``images<suffix>`` and ``labels<suffix>``."""
    for folder in (out / f"images{suffix}", out / f"labels{suffix}"):
        folder.mkdir(parents=True)
    for crop in crops:
        Image.fromarray(crop.image).save(out / f"images{suffix}" / f"{crop.name}_0000.png", optimize=True)
        Image.fromarray(crop.label).save(out / f"labels{suffix}" / f"{crop.name}.png", optimize=True)


def main(tiles: Path, out: Path = SAMPLE) -> None:
    """Replaces the sample in `out` by one cut from `tiles`.

    Raises:
        FileExistsError: `out` exists and is not a sample that this program wrote.
    """
    description = json.loads((tiles / "dataset.json").read_text())
    if out.exists():
        attribution = out / "ATTRIBUTION.txt"
        if not attribution.is_file() or not attribution.read_text().startswith(OURS):
            raise FileExistsError(
                f"{out} exists and is not a sample of this program: name a folder that does not exist."
            )
        shutil.rmtree(out)
    for suffix in ("Tr", "Ts"):
        eyes: dict[str, list[Crop]] = defaultdict(list)
        for label_file in sorted((tiles / f"labels{suffix}").glob("*.png")):
            image_file = tiles / f"images{suffix}" / f"{label_file.stem}_0000.png"
            eyes["_".join(label_file.stem.split("_")[:2])] += crops_of_tile(image_file, label_file)
        chosen = [crop for eye in eyes for crop in select(eyes[eye])]
        write(chosen, out, suffix)
        areas = {label: sum(crop.area(label) > 0 for crop in chosen) for label in (EXUDATE, HAEMORRHAGE)}
        print(
            f"{suffix}: {len(chosen)} crops of {len(eyes)} eyes, {areas[1]} with exudates, {areas[2]} with haemorrhages"
        )
        if suffix == "Tr":
            description["numTraining"] = len(chosen)
    description |= {"name": "FundusLesions", "licence": "CC BY 4.0", "reference": "IDRiD, doi:10.21227/H25W98"}
    (out / "dataset.json").write_text(json.dumps(description, indent=2) + "\n")
    (out / "ATTRIBUTION.txt").write_text(ATTRIBUTION)
    print(f"{sum(file.stat().st_size for file in out.rglob('*') if file.is_file()) / 1e6:.2f} MB in {out}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
