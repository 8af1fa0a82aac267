"""The rules of an evaluation: what they refuse, and a hash that tells them apart."""

import dataclasses
import json
import re

import pytest

from nnunetv2_mamba.evaluation.presets import PRESETS, protocol_from, variations
from nnunetv2_mamba.evaluation.protocol import Protocol, Strata

# Another value of each field, and of each field of the strata.
CHANGES = {
    "connectivity": "faces",
    "matching": "one_to_one",
    "iou_threshold": 0.25,
    "dilation_mm": 2.0,
    "dilation_steps": 1,
    "spare_duplicates": True,
    "min_lesion_size": 3.0,
    "min_lesion_voxels": 2,
    "min_component_size": 3.0,
    "min_component_voxels": 2,
    "precision_counts": "lesions",
    "strata": Strata(bounds=(0.3, 0.6)),
    "surface_tolerance": 2.0,
    "missed_distance": 100.0,
    "empty_values": (("DSC", "both_empty", 1.0),),
}
STRATA_CHANGES = {
    "names": ("s", "m", "l"),
    "by": "size",
    "bounds": (0.25, 0.5),
    "level": "image",
}
# A threshold of IoU has no meaning for the default matching.
BASE = Protocol(matching="iou")
HASHES = {
    "default": "bf9a4530cac2",
    "s3mamba": "433c8530ea63",
    "iou50": "f3217a91382a",
    "brats-gli": "1d18c3335236",
    "brats-ssa": "1d18c3335236",
    "brats-ped": "1d18c3335236",
    "brats-men": "244c32aff0ee",
    "brats-met": "b69cff990af7",
    "isles22": "c087e6f5cfcc",
    "autopet": "bc38227e2300",
    "picai": "6f97f987b70b",
}


def test_every_field_is_changed_below():
    assert CHANGES.keys() | {"name"} == {entry.name for entry in dataclasses.fields(Protocol)}
    assert STRATA_CHANGES.keys() == {entry.name for entry in dataclasses.fields(Strata)}


@pytest.mark.parametrize("field", CHANGES)
def test_another_rule_is_another_hash(field):
    assert BASE.but(**{field: CHANGES[field]}).hash != BASE.hash


@pytest.mark.parametrize("field", STRATA_CHANGES)
def test_other_strata_are_another_hash(field):
    assert Protocol(strata=Strata(**{field: STRATA_CHANGES[field]})).hash != Protocol().hash


def test_all_these_hashes_are_different():
    changed = [BASE.but(**{field: value}) for field, value in CHANGES.items()]
    changed += [BASE.but(strata=Strata(**{field: value})) for field, value in STRATA_CHANGES.items()]
    assert len({protocol.hash for protocol in changed}) == len(changed)


def test_the_name_is_no_rule():
    assert Protocol(name="mine").hash == Protocol().hash
    assert len(Protocol().hash) == 12
    assert int(Protocol().hash, 16) >= 0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Protocol(min_lesion_size=5), Protocol(min_lesion_size=5.0)),
        (Protocol(min_lesion_voxels=5.0), Protocol(min_lesion_voxels=5)),
        (Protocol(missed_distance=374), Protocol(missed_distance=374.0)),
        (Protocol(empty_values=[["DSC", "both_empty", 1]]), Protocol(empty_values=(("DSC", "both_empty", 1.0),))),
        (
            Protocol(strata=Strata(names=["a", "b"], by="size", bounds=[5])),
            Protocol(strata=Strata(names=("a", "b"), by="size", bounds=(5.0,))),
        ),
    ],
    ids=["size", "voxels", "distance", "empty values", "strata"],
)
def test_rules_that_are_written_differently_are_equal(one, other):
    assert one == other
    assert one.hash == other.hash
    assert one.as_dict() == other.as_dict()


@pytest.mark.parametrize(
    "protocol",
    [*PRESETS.values(), *(BASE.but(**{field: value}) for field, value in CHANGES.items())],
    ids=lambda protocol: f"{protocol.name} {protocol.hash}",
)
def test_a_protocol_survives_json(protocol):
    again = Protocol.from_dict(json.loads(json.dumps(protocol.as_dict())))
    assert again == protocol
    assert again.hash == protocol.hash


def test_fields_that_are_not_there_keep_their_defaults():
    protocol = Protocol.from_dict({"min_lesion_voxels": 3, "strata": {"by": "voxels", "bounds": [3, 10]}})
    strata = Strata(by="voxels", bounds=(3.0, 10.0))
    assert protocol == Protocol(min_lesion_voxels=3, strata=strata)
    assert strata.names == ("small", "medium", "large")


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"conectivity": "faces"}, "a protocol has no conectivity, only name, connectivity, matching"),
        ({"strata": {"bound": [1, 2]}}, "strata have no bound, only names, by, bounds, level"),
        ({"strata": "thirds"}, "strata='thirds' is not a mapping"),
        ({"connectivity": "26"}, "connectivity='26' is not one of faces, edges, corners"),
        ({"matching": "hungarian"}, "matching='hungarian' is not one of any_overlap, iou, one_to_one"),
        ({"matching": "iou", "iou_threshold": 1.5}, "iou_threshold=1.5 is not between 0 and 1"),
        ({"iou_threshold": 0.5}, "iou_threshold=0.5 has no meaning for any_overlap: use matching='iou'"),
        ({"dilation_mm": 1, "dilation_steps": 1}, "set only one of them"),
        ({"dilation_mm": -1}, "dilation_mm=-1.0 is negative"),
        ({"min_lesion_voxels": "three"}, "min_lesion_voxels='three' is not a whole number"),
        ({"min_lesion_voxels": 2.5}, "min_lesion_voxels=2.5 is not a whole number"),
        ({"min_lesion_size": True}, "min_lesion_size=True is not a number"),
        ({"surface_tolerance": float("nan")}, "surface_tolerance=nan is not a number"),
        ({"missed_distance": "far"}, "missed_distance='far' is not a number"),
        ({"spare_duplicates": "yes"}, "spare_duplicates='yes' is neither true nor false"),
        ({"precision_counts": "voxels"}, "precision_counts='voxels' is neither 'components' nor 'lesions'"),
        ({"empty_values": 1}, "empty_values=1 is not a list"),
        ({"empty_values": [["DSC", "both_empty"]]}, "is not a list of metric, emptiness and number"),
        ({"empty_values": [["DSC", "empty", 1]]}, "has the emptiness 'empty', which is none of both_empty"),
        ({"strata": {"names": ["small", "large"]}}, "2 strata need 1 rising bounds, not (0.33"),
        ({"strata": {"by": "size", "bounds": [9, 3]}}, "3 strata need 2 rising bounds, not (9.0, 3.0)"),
        ({"strata": {"by": "size", "bounds": [3, 3]}}, "3 strata need 2 rising bounds, not (3.0, 3.0)"),
        ({"strata": {"bounds": [3, 30]}}, "quantiles are between 0 and 1, not (3.0, 30.0)"),
        ({"strata": {"by": "age"}}, "strata by 'age' of 'lesion' do not exist"),
        ({"strata": {"level": "eye"}}, "strata by 'quantiles' of 'eye' do not exist"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_a_protocol_cannot_be_is_said_in_a_sentence(fields, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        Protocol.from_dict(fields)


def test_a_preset_by_its_name():
    assert protocol_from("picai") is PRESETS["picai"]
    assert all(name == protocol.name for name, protocol in PRESETS.items())


def test_a_protocol_from_a_file(tmp_path):
    file = tmp_path / "ours.json"
    file.write_text(json.dumps({"dilation_mm": 2, "min_lesion_voxels": 3}))
    protocol = protocol_from(str(file))
    assert protocol == Protocol(name="ours", dilation_mm=2.0, min_lesion_voxels=3)
    file.write_text(json.dumps(PRESETS["brats-met"].as_dict()))
    assert protocol_from(str(file)) == PRESETS["brats-met"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "does not contain a protocol"),
        ("[1]", "does not contain a protocol"),
        ('{"conn": 1}', "a protocol has no conn"),
    ],
)
def test_a_file_without_a_protocol_is_named(tmp_path, content, sentence):
    file = tmp_path / "wrong.json"
    file.write_text(content)
    with pytest.raises(ValueError, match=sentence) as error:
        protocol_from(str(file))
    assert str(file) in str(error.value)


def test_a_name_that_is_neither_preset_nor_file_lists_the_presets():
    with pytest.raises(ValueError, match="brats is neither a JSON file nor one of the protocols default, s3mamba"):
        protocol_from("brats")


@pytest.mark.parametrize("protocol", PRESETS.values(), ids=list(PRESETS))
def test_variations_start_with_the_protocol_and_never_repeat_a_rule(protocol):
    varied = variations(protocol)
    assert varied[0] == protocol
    assert len({other.hash for other in varied}) == len(varied) >= 8


def test_variations_change_one_decision():
    base, *others = variations(Protocol())
    decisions = {
        "connectivity": {"connectivity"},
        "matching": {"matching", "iou_threshold"},
        "dilation": {"dilation_mm", "dilation_steps"},
        "size": {"min_lesion_voxels", "min_component_voxels"},
    }
    seen = set()
    for other in others:
        changed = {name for name, value in other.as_dict().items() if value != base.as_dict()[name]} - {"name"}
        seen |= {decision for decision, names in decisions.items() if changed <= names}
        assert sum(changed <= names for names in decisions.values()) == 1
    assert seen == decisions.keys()


def test_hashes_of_presets_stay_what_they_are():
    """Files of earlier versions carry them: where one changes, `RULES_VERSION` has to."""
    assert {name: protocol.hash for name, protocol in PRESETS.items()} == HASHES


def test_zero_has_no_sign_and_empty_values_no_order():
    assert Protocol(dilation_mm=-0.0).hash == Protocol().hash
    values = (("DSC", "both_empty", 1.0), ("SEN", "both_empty", 1.0))
    assert Protocol(empty_values=values).hash == Protocol(empty_values=values[::-1]).hash
