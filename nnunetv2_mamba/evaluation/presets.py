"""Named protocols: the default, and published rules as their authors' text or code states them."""

import json
from pathlib import Path

from nnunetv2_mamba.evaluation.protocol import Protocol, Strata

_BRATS = Protocol(
    connectivity="corners",
    dilation_steps=3,
    min_lesion_voxels=51,
    precision_counts="lesions",
    missed_distance=374.0,
    empty_values=(
        ("DSC", "both_empty", 1.0),
        ("SEN", "both_empty", 1.0),
        ("SEN", "reference_empty", 0.0),
        ("HD95", "both_empty", 0.0),
        ("lesionwise_dice", "both_empty", 1.0),
        ("lesionwise_hd95", "both_empty", 0.0),
    ),
)

PRESETS = {
    protocol.name: protocol
    for protocol in (
        Protocol(),
        Protocol(
            name="s3mamba",
            strata=Strata(names=("small", "medium", "large"), by="quantiles", bounds=(0.3, 0.6), level="image"),
        ),
        Protocol(name="iou50", matching="one_to_one", iou_threshold=0.5),
        _BRATS.but(name="brats-gli"),
        _BRATS.but(name="brats-ssa"),
        _BRATS.but(name="brats-ped"),
        _BRATS.but(name="brats-men", dilation_steps=1),
        _BRATS.but(name="brats-met", dilation_steps=1, min_lesion_voxels=3),
        Protocol(
            name="isles22",
            precision_counts="lesions",
            empty_values=(("DSC", "both_empty", 1.0), ("lesion_f1", "both_empty", 1.0)),
        ),
        Protocol(name="autopet", connectivity="edges"),
        Protocol(name="picai", matching="one_to_one", iou_threshold=0.1, spare_duplicates=True),
    )
}


def protocol_from(text: str) -> Protocol:
    """The protocol with a name, or that of a JSON file with fields of `Protocol`.

    Raises:
        ValueError: there is no such preset or file, or the file does not contain a protocol.
    """
    if text in PRESETS:
        return PRESETS[text]
    path = Path(text)
    if not path.is_file():
        raise ValueError(f"{text} is neither a JSON file nor one of the protocols {', '.join(PRESETS)}.")
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(fields, dict):
            raise TypeError("it is not a mapping of fields to values")
        return Protocol.from_dict({"name": path.stem} | fields)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} does not contain a protocol: {error}") from error


def variations(protocol: Protocol) -> list[Protocol]:
    """The protocol, then plausible alternatives, each with one or two decisions changed."""
    others = [
        protocol.but(name="connectivity faces", connectivity="faces"),
        protocol.but(name="connectivity corners", connectivity="corners"),
        protocol.but(name="any overlap", matching="any_overlap", iou_threshold=0.0),
        protocol.but(name="one to one", matching="one_to_one", iou_threshold=0.0),
        protocol.but(name="IoU 0.1", matching="iou", iou_threshold=0.1),
        protocol.but(name="one to one, IoU 0.1", matching="one_to_one", iou_threshold=0.1),
        protocol.but(name="one to one, IoU 0.5", matching="one_to_one", iou_threshold=0.5),
        protocol.but(name="dilation of one step", dilation_steps=1, dilation_mm=0.0),
        protocol.but(name="no dilation", dilation_steps=0, dilation_mm=0.0),
        protocol.but(name="3 voxels or more", min_lesion_voxels=3, min_component_voxels=3),
        protocol.but(name="10 voxels or more", min_lesion_voxels=10, min_component_voxels=10),
    ]
    different = {protocol.hash: protocol}
    for other in others:
        different.setdefault(other.hash, other)
    return list(different.values())
