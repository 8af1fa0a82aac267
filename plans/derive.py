"""Derives a plans file with our network from nnU-Net's plans file, without planning or preprocessing again.

The derived plans share the preprocessed data, so ``nnUNetv2_train ID 2d 0 -p nnUNetPlans_S3Mamba`` trains our network
with the stock trainer, and a comparison with the stock network is fair.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from inspect import signature
from pathlib import Path
from typing import Any

from nnunetv2_mamba.architectures.registry import find_network
from nnunetv2_mamba.plans.architecture import deep_supervision_scales, mamba_architecture


def derive_plans(
    plans: Mapping[str, Any],
    network: str,
    configurations: Collection[str] | None = None,
    *,
    plans_name: str | None = None,
    stem: str | None = None,
    checkpointed_stages: Sequence[int] | None = None,
    batch_size: int | None = None,
) -> dict[str, Any]:
    """Plans that train `network`, equal to the given ones in everything else, ``data_identifier`` included.

    Args:
        plans: content of a plans file of nnU-Net 2.3 or later; it is not changed.
        network: name of the class in `nnunetv2_mamba.architectures`.
        configurations: those that get the network, such as ``["2d"]``; None for all. The others keep their network.
        plans_name: name of the new plans, by default the old one and the network's, such as ``nnUNetPlans_S3Mamba``;
            ``nnUNetPlans_S3MambaFine`` with a convolutional stem.
        stem: of the network, ``"patch"`` or ``"conv"``; None for its default.
        checkpointed_stages: stages with activation checkpointing, 0 the finest.
        batch_size: samples in a training step of these configurations; None keeps nnU-Net's number.

    Raises:
        ValueError: the batch size is below 1; the network or a configuration is unknown; the network has no stem to
            choose; or a configuration has no architecture, names another of our networks, has too few stages for the
            deep supervision of the stock trainer, or does not have a stage of `checkpointed_stages`.
    """
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"a batch size of {batch_size} is not possible: give 1 or more.")
    derived = deepcopy(dict(plans))
    entries = derived["configurations"]
    chosen = set(entries if configurations is None else configurations)
    if unknown := chosen - set(entries):
        raise ValueError(f"{plans['plans_name']} has no configuration {sorted(unknown)[0]}, only {', '.join(entries)}.")
    # Resolved before the first is replaced, because a configuration must not inherit the network of a chosen one.
    planned = {name: _planned(plans, name) for name in entries}
    for name, entry in entries.items():
        kept = planned[name]["architecture"]
        entry["architecture"] = _replaced(planned[name], network, stem, configuration=name) if name in chosen else kept
        if checkpointed_stages is not None and name in chosen:
            entry["architecture"]["arch_kwargs"] = _checkpointed(entry["architecture"], checkpointed_stages, name)
        # Written into all configurations, so that one that inherits keeps its own batch size.
        if batch_size is not None and "batch_size" in planned[name]:
            entry["batch_size"] = batch_size if name in chosen else planned[name]["batch_size"]
    fine = "Fine" if stem == "conv" else ""
    derived["plans_name"] = plans_name or f"{plans['plans_name']}_{network.rpartition('.')[2]}{fine}"
    return derived


def derive_plans_file(
    dataset: int | str | Path,
    source_plans: str = "nnUNetPlans",
    network: str = "S3Mamba",
    *,
    configurations: Collection[str] | None = None,
    plans_name: str | None = None,
    stem: str | None = None,
    checkpointed_stages: Sequence[int] | None = None,
    batch_size: int | None = None,
) -> Path:
    """Write derived plans beside their source, in the dataset's folder of nnUNet_preprocessed.

    Args:
        dataset: id or name of the dataset, or the path of its preprocessed folder.
        source_plans: name of the plans to start from, without ``.json``.
        network: as in `derive_plans`.
        configurations: as in `derive_plans`.
        plans_name: as in `derive_plans`.
        stem: as in `derive_plans`.
        checkpointed_stages: as in `derive_plans`.
        batch_size: as in `derive_plans`.

    Returns:
        The file; ``-p`` takes its name without ``.json``. An existing file with the same content is not changed.

    Raises:
        FileNotFoundError: the source plans do not exist.
        FileExistsError: a file of this name exists and has another content; nothing is written.
        RuntimeError: nnU-Net does not find the dataset.
        ValueError: as in `derive_plans`.
    """
    folder = dataset if isinstance(dataset, Path) else _preprocessed_folder(dataset)
    source = folder / f"{source_plans}.json"
    if not source.is_file():
        raise FileNotFoundError(f"{source} does not exist: run nnUNetv2_plan_and_preprocess for the dataset first.")
    plans = json.loads(source.read_text())
    derived = derive_plans(
        plans,
        network,
        configurations=configurations,
        plans_name=plans_name,
        stem=stem,
        checkpointed_stages=checkpointed_stages,
        batch_size=batch_size,
    )
    target = folder / f"{derived['plans_name']}.json"
    if target.exists():
        if json.loads(target.read_text()) == derived:
            return target
        raise FileExistsError(
            f"{target} exists and is not what {source_plans} gives for {network}: nothing was written, "
            "remove that file or choose another name for the new plans."
        )
    target.write_text(json.dumps(derived, indent=4) + "\n")
    return target


def _preprocessed_folder(dataset: int | str) -> Path:
    # nnU-Net's own functions, imported here so that plans can be derived in memory without nnU-Net.
    from nnunetv2.paths import nnUNet_preprocessed
    from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name

    return Path(nnUNet_preprocessed) / maybe_convert_to_dataset_name(dataset)


def _planned(plans: Mapping[str, Any], configuration: str) -> dict[str, Any]:
    """A configuration with what it inherits."""
    planned = deepcopy(plans["configurations"][configuration])
    while "inherits_from" in planned:
        planned = deepcopy(plans["configurations"][planned.pop("inherits_from")]) | planned
    if "architecture" not in planned:
        raise ValueError(
            f"configuration {configuration} of {plans['plans_name']} has no architecture, so it was planned by "
            "nnU-Net 2.2 or older: plan again with nnUNetv2_plan_experiment."
        )
    return planned


def _replaced(planned: Mapping[str, Any], network: str, stem: str | None, *, configuration: str) -> dict[str, Any]:
    overrides = {} if stem is None else {"stem": stem}
    if stem is not None and "stem" not in signature(find_network(network)).parameters:
        raise ValueError(f"{network} has no stem to choose: leave the stem out.")
    replaced = mamba_architecture(planned, network, **overrides)
    if len(deep_supervision_scales(replaced)) < 2:
        raise ValueError(
            f"configuration {configuration} has {len(planned['architecture']['arch_kwargs']['strides'])} stages, too "
            f"few for the stock trainer's deep supervision: leave it out, or train it with -tr nnUNetTrainer{network} "
            "instead."
        )
    return replaced


def _checkpointed(architecture: Mapping[str, Any], stages: Sequence[int], configuration: str) -> dict[str, Any]:
    arch_kwargs = architecture["arch_kwargs"]
    n_stages = len(arch_kwargs["features_per_stage"])
    if unknown := [stage for stage in stages if stage not in range(n_stages)]:
        raise ValueError(
            f"configuration {configuration} has the stages 0, the finest, to {n_stages - 1}: stage {unknown[0]} cannot "
            "be checkpointed."
        )
    return {**arch_kwargs, "checkpointed_stages": list(stages)}
