"""How a configuration of nnU-Net's plans resamples an image, and how the network of a trainer downsamples it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nnunetv2_mamba import plugin
from nnunetv2_mamba.evaluation.errors import EvaluationError
from nnunetv2_mamba.folders.preprocessed import Preprocessed
from nnunetv2_mamba.inspection.summary import PlannedConfiguration, PlannedNetwork

DEFAULT_TRAINER = "nnUNetTrainerS3Mamba"


def configuration_of(plans: Mapping[str, Any], name: str | None) -> tuple[PlannedConfiguration, dict[str, Any]]:
    """A configuration, with what it inherits.

    Args:
        plans: content of a plans file.
        name: of the configuration; None for 3d_fullres, or for the first one if there is no 3d_fullres.

    Raises:
        EvaluationError: there is no such configuration.
    """
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    names = list(plans["configurations"])
    name = name or ("3d_fullres" if "3d_fullres" in names else names[0])
    if name not in names:
        raise EvaluationError(f"{plans['plans_name']} has no configuration {name}, only {', '.join(names)}: change -c.")
    configuration = PlansManager(dict(plans)).get_configuration(name).configuration
    spacing, patch = configuration["spacing"], configuration["patch_size"]
    planned = PlannedConfiguration(
        name=plans["plans_name"],
        configuration=name,
        spacing=tuple(map(float, spacing)),
        patch_size=tuple(map(int, patch)),
    )
    return planned, configuration


def preprocessed_in(folder: Path, plans: Mapping[str, Any], configuration: Mapping[str, Any]) -> Preprocessed | None:
    """The preprocessed cases of a configuration; None where there are none.

    Args:
        folder: of the dataset, below nnUNet_preprocessed.
        plans: content of the plans file.
        configuration: of these plans, with what it inherits.
    """
    cases = folder / configuration["data_identifier"]
    found = Preprocessed(cases, tuple(plans["transpose_forward"]), tuple(map(float, configuration["spacing"])))
    return found if found.files() else None


def network_of(trainer: str | None, configuration: Mapping[str, Any]) -> PlannedNetwork | None:
    """The network that a trainer trains: one of this package's networks, or the one that the plans name.

    Args:
        trainer: its name, of this package or any other that nnU-Net finds; None for that of S3-Mamba, or for the
            network that the plans name, if it is one of this package.
        configuration: of the plans, with what it inherits.

    Returns:
        None if the plans do not say by how much their network downsamples.

    Raises:
        EvaluationError: nnU-Net finds no trainer of that name, or it does not fit the plans.
    """
    from nnunetv2_mamba.plans.architecture import is_ours, mamba_architecture, token_size

    architecture = configuration["architecture"]
    if trainer is not None and trainer not in plugin.trainer_names() and not plugin.may_exist(trainer):
        raise EvaluationError(f"there is no trainer {trainer}: this package has {', '.join(plugin.trainer_names())}.")
    if trainer is None and not architecture["arch_kwargs"].get("strides"):
        return None
    if trainer is not None or not is_ours(architecture):
        chosen = _look_up(trainer or DEFAULT_TRAINER)
        if hasattr(chosen, "network_name"):
            arguments = {**chosen.network_parts, **chosen.network_overrides}
            try:
                architecture = mamba_architecture(configuration, chosen.network_name, **arguments)
            except ValueError as error:
                raise EvaluationError(str(error)) from error
        trainer = chosen.__name__
    if not (strides := architecture["arch_kwargs"].get("strides")):
        return None
    total_stride = np.prod(np.asarray(strides, dtype=int), axis=0).tolist()
    name = architecture["network_class_name"].rpartition(".")[2]
    return PlannedNetwork(
        trainer=trainer or "nnUNetTrainer",
        name=name,
        token=tuple(token_size(architecture)),
        total_stride=tuple(total_stride),
    )


def _look_up(trainer: str) -> Any:
    try:
        return plugin.look_up_trainer(trainer)
    except (ImportError, RuntimeError) as error:
        raise EvaluationError(f"nnU-Net cannot find the trainer {trainer}: {error}") from error
