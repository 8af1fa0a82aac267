"""``nnUNetv2_mamba networks``: the networks with their sizes, their trainers and their papers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunetv2_mamba import plugin
from nnunetv2_mamba.commands.options import PROGRAM, option

if TYPE_CHECKING:
    from nnunetv2_mamba.architectures._contract import UShapedNetwork

HEADING = ("network", "trainer", "dimensions", "parameters", "multiply-adds", "source")
PUBLISHED = (3, 2, (256, 256))
"""Channels, classes and image size of the published networks in the table."""


@dataclass
class Networks:
    """List our networks with their parameters and multiply-adds, as published or as a plan makes them.

    Attributes:
        names: names of networks; unless given, the network that the plan names, or all registered ones. For a network
            of another package, its module is in front of its name.
        dataset: id or name of a preprocessed dataset, whose plan sizes the networks; None for the published sizes.
        configuration: of the plan.
        plans: name of the plans.
        markdown: whether the table is written for a Markdown page.
    """

    names: list[str] | None = field(
        default=None,
        metadata=option("networks; all unless given. PACKAGE.MODULE.NAME for other packages", "NAME", nargs="*"),
    )
    dataset: str | None = field(
        default=None, metadata=option("dataset id or name, whose plan sizes the networks", "-d")
    )
    configuration: str = field(default="2d", metadata=option("configuration of the plan", "-c"))
    plans: str = field(default="nnUNetPlans", metadata=option("plans", "-p"))
    markdown: bool = field(default=False, metadata=option("print the table for a Markdown page"))

    def run(self) -> int:
        """Print the table.

        Raises:
            SystemExit: a network, dataset, plan or configuration does not exist, or the plan cannot have the network.
        """
        from nnunetv2_mamba.evaluation.errors import EvaluationError

        try:
            rows = table_rows(self._networks()) if self.dataset is None else self._planned_rows()
        except (EvaluationError, ValueError) as error:
            raise SystemExit(f"{PROGRAM} networks: {error}") from error
        print(markdown_table(rows) if self.markdown else plain_table(rows))
        return 0

    def _planned_rows(self) -> list[tuple[str, ...]]:
        from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

        from nnunetv2_mamba.folders.dataset import Dataset, read_json
        from nnunetv2_mamba.plans.architecture import network_class

        dataset = Dataset.find(str(self.dataset))
        plans = PlansManager(dataset.plans(self.plans))
        if self.configuration not in plans.available_configurations:
            names = ", ".join(plans.available_configurations)
            raise ValueError(f"{self.plans} has no configuration {self.configuration}, only {names}: change -c.")
        configuration = plans.get_configuration(self.configuration)
        description = read_json(Path(str(dataset.preprocessed), "dataset.json"))
        channels = determine_num_input_channels(plans, configuration, description)
        heads = plans.get_label_manager(description).num_segmentation_heads
        # Plans of one network cannot have another one.
        planned = network_class(configuration.configuration["architecture"]) if not self.names else None
        networks = [planned] if planned else self._networks()
        return [_planned_row(network, configuration, channels=channels, heads=heads) for network in networks]

    def _networks(self) -> list[type["UShapedNetwork"]]:
        from nnunetv2_mamba.architectures.registry import NETWORKS, find_network

        return [find_network(name) for name in self.names or sorted(NETWORKS)]


def table_rows(networks: Sequence[type["UShapedNetwork"]]) -> list[tuple[str, ...]]:
    """One row per network, with the columns of `HEADING`, for the published size.

    Args:
        networks: registered ones.
    """
    channels, classes, size = PUBLISHED
    rows = []
    for network in networks:
        build: Callable[..., UShapedNetwork] = network
        rows.append(_row(network, build(channels, classes), size))
    return rows


def plain_table(rows: Sequence[tuple[str, ...]]) -> str:
    """The table for a terminal."""
    widths = [max(map(len, column)) for column in zip(HEADING, *rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in (HEADING, *rows))
    return "\n".join(lines)


def markdown_table(rows: Sequence[tuple[str, ...]]) -> str:
    """The table for a Markdown page."""
    lines = [HEADING, ("---",) * len(HEADING), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _row(network: type["UShapedNetwork"], built: "UShapedNetwork", size: Sequence[int]) -> tuple[str, ...]:
    from nnunetv2_mamba.architectures.size import count_multiply_adds, count_parameters

    trainer = f"nnUNetTrainer{network.__name__}"
    publication = network.publication
    code = f"code {publication.licence or 'without a licence'}" if publication.code else "no published code"
    return (
        network.__name__,
        trainer if plugin.may_exist(trainer) else "none",
        " and ".join(f"{ndim}D" for ndim in network.dimensions),
        f"{count_parameters(built):,}",
        f"{count_multiply_adds(built, size) / 1e9:.1f} G",
        f"{publication.title}, {publication.paper}; {code}",
    )


def _planned_row(network: type["UShapedNetwork"], configuration: Any, *, channels: int, heads: int) -> tuple[str, ...]:
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    from nnunetv2_mamba.plans.architecture import mamba_architecture

    architecture = mamba_architecture(configuration.configuration, network.__name__)
    built = get_network_from_plans(
        architecture["network_class_name"],
        architecture["arch_kwargs"],
        architecture["_kw_requires_import"],
        input_channels=channels,
        output_channels=heads,
        deep_supervision=False,
    )
    return _row(network, built, configuration.patch_size)
