"""What is evaluated: the foreground labels or regions that ``dataset.json`` names."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Target:
    """A label, or a region made of several.

    Attributes:
        name: what dataset.json calls it.
        labels: values of its voxels in a segmentation.
    """

    name: str
    labels: tuple[int, ...]

    def mask(self, segmentation: np.ndarray) -> np.ndarray:
        """Voxels of the target (bool), in a segmentation of any shape."""
        mask: np.ndarray = segmentation == self.labels[0]
        for label in self.labels[1:]:
            mask |= segmentation == label
        return mask


def targets_of(dataset: Mapping[str, Any]) -> list[Target]:
    """Foreground labels or regions, as nnU-Net evaluates them, in the order of dataset.json.

    Args:
        dataset: content of nnU-Net's ``dataset.json``.

    Raises:
        ValueError: there is no foreground label, or one that is not a number.
    """
    if not isinstance(dataset["labels"], Mapping):
        raise ValueError(
            f"dataset.json says that its labels are {dataset['labels']!r}: nnU-Net v2 wants their names and numbers."
        )
    targets = []
    for name, value in dataset["labels"].items():
        labels = tuple(_label(name, value, each) for each in (value if isinstance(value, (list, tuple)) else [value]))
        if not labels:
            raise _not_a_label(name, value)
        if name != "ignore" and set(labels) != {0}:
            targets.append(Target(name, labels))
    if not targets:
        raise ValueError(f"dataset.json names no foreground label, only {', '.join(dataset['labels'])}: add one.")
    return targets


def ignore_label_of(dataset: Mapping[str, Any]) -> int | None:
    """Value of the voxels that nobody has annotated; None where dataset.json knows no such label.

    Args:
        dataset: content of nnU-Net's ``dataset.json``.

    Raises:
        ValueError: it is not a number.
    """
    value = dataset["labels"].get("ignore")
    return None if value is None else _label("ignore", value, value)


def known_labels(dataset: Mapping[str, Any]) -> frozenset[int]:
    """Every value that dataset.json has a name for."""
    values = [*dataset["labels"].values(), *dataset.get("regions_class_order", ())]
    members = (value if isinstance(value, (list, tuple)) else [value] for value in values)
    return frozenset(int(label) for group in members for label in group)


def _label(name: str, value: Any, label: Any) -> int:
    """One of the numbers that dataset.json gives to a name."""
    try:
        return int(label)
    except (OverflowError, TypeError, ValueError) as error:
        raise _not_a_label(name, value) from error


def _not_a_label(name: str, value: Any) -> ValueError:
    return ValueError(f"dataset.json says that the label {name} is {value!r}: nnU-Net v2 wants a name and its number.")
