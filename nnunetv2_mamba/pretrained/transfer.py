"""Puts the tensors of a VMamba classifier into a network's state dict, and reports what happened to each of them."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nnunetv2_mamba.architectures._vss_unet import VSSUNet
from nnunetv2_mamba.pretrained.adapt import MisfitError, adapt
from nnunetv2_mamba.pretrained.vmamba import WeightsError, counterparts

SHOWN = 6
"""Number of parts or tensors that a line of the table names."""


@dataclass
class TransferReport:
    """What happened to each tensor: numbers of elements by name, in `mismatched` reasons by name.

    Attributes:
        loaded: tensors of the network that were taken from the file.
        adapted: loaded tensors that were converted.
        missing: tensors of the network that stay initialised because VMamba or the file does not have them.
        mismatched: tensors of the network that stay initialised because the tensor of the file does not fit.
        unused: tensors of the file that the network does not have.
        loadable: elements of the network's tensors that have a counterpart in VMamba.
    """

    loaded: dict[str, int] = field(default_factory=dict)
    adapted: dict[str, int] = field(default_factory=dict)
    missing: dict[str, int] = field(default_factory=dict)
    mismatched: dict[str, str] = field(default_factory=dict)
    unused: dict[str, int] = field(default_factory=dict)
    loadable: int = 0

    @property
    def coverage(self) -> float:
        """Loaded elements divided by `loadable`; 0 if no tensor has a counterpart in VMamba."""
        return sum(self.loaded.values()) / self.loadable if self.loadable else 0.0

    def loaded_tensors(self, part: str) -> int:
        """Number of tensors loaded into ``"encoder"`` or ``"decoder"``."""
        return sum(name.startswith(f"{part}.") for name in self.loaded)

    def require(self, min_coverage: float, file: str) -> None:
        """Check that enough was loaded for the network to count as pretrained.

        Args:
            min_coverage: smallest `coverage` that is accepted.
            file: where the tensors are from, for the message.

        Raises:
            WeightsError: not a single block was loaded, or the coverage is too low.
        """
        reason = next((f"; {name}: {why}" for name, why in self.mismatched.items()), "")
        if not any(".blocks." in name for name in self.loaded):
            raise WeightsError(f"no block of {file} fits the network{reason}: take a file or plans of other widths.")
        if self.coverage < min_coverage:
            raise WeightsError(
                f"only {self.coverage:.3f} of the parameters that {file} could give were loaded, less than "
                f"{min_coverage}{reason}: lower --min-coverage if that is what you want."
            )

    def table(self) -> str:
        """The report as lines of text."""
        parts = ", ".join(f"{part} {self.loaded_tensors(part)}" for part in ("encoder", "decoder"))
        lines = [
            f"{'':<18}{'tensors':>8}{'parameters':>14}",
            _line("loaded", self.loaded, parts),
            _line("  of them adapted", self.adapted, _counted(map(_part_of_network, self.adapted))),
            _line("missing", self.missing, _counted(map(_part_of_network, self.missing))),
            _line("shape-mismatched", self.mismatched, _first(": ".join(item) for item in self.mismatched.items())),
            _line("unused", self.unused, _counted(map(_part_of_file, self.unused))),
        ]
        lines.append(f"{'coverage':<18}{self.coverage:>8.3f}  of the {self.loadable:,} parameters that VMamba has too")
        return "\n".join(lines)


@torch.no_grad()
def transfer(
    source: Mapping[str, Tensor], network: VSSUNet, image_channels: int | None = None
) -> tuple[dict[str, Tensor], TransferReport]:
    """The state dict of a network with everything that VMamba has for it.

    Args:
        source: tensors of a VMamba v0 classifier by its names.
        network: 2-D network, or a 3-D network, for which the tensors are inflated; it is not changed.
        image_channels: number of input channels that are images; all unless given.

    Returns:
        The network's complete state dict, in its own dtypes, and the report.

    Raises:
        WeightsError: a tensor holds NaN or infinite values.
    """
    state = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
    channels = network.input_channels if image_channels is None else image_channels
    names = counterparts(network)
    report = TransferReport(loadable=sum(state[name].numel() for name in names))
    for name, own in state.items():
        if names.get(name) not in source:
            report.missing[name] = own.numel()
            continue
        given = source[names[name]]
        try:
            fitted = adapt(names[name], given, encoder=network.encoder, image_channels=channels)
        except MisfitError as error:
            report.mismatched[name] = str(error)
            continue
        if fitted.shape != own.shape:
            report.mismatched[name] = f"{tuple(given.shape)} in the file, {tuple(own.shape)} here"
            continue
        if not torch.isfinite(fitted).all():
            raise WeightsError(f"{names[name]} holds NaN or infinite values: download the file again.")
        state[name].copy_(fitted)
        report.loaded[name] = own.numel()
        if fitted is not given:
            report.adapted[name] = own.numel()
    used = set(names.values())
    report.unused.update({name: tensor.numel() for name, tensor in source.items() if name not in used})
    return state, report


def _line(title: str, names: Mapping[str, int] | Mapping[str, str], note: str) -> str:
    elements = [number for number in names.values() if isinstance(number, int)]
    total = f"{sum(elements):,}" if elements or not names else ""
    return f"{title:<18}{len(names):>8}{total:>14}  {note}".rstrip()


def _counted(parts: Iterable[str]) -> str:
    return _first(f"{part} {count}" for part, count in Counter(parts).most_common())


def _part_of_network(name: str) -> str:
    """``encoder.layers.0.blocks.1.ln_1.weight`` becomes ``encoder.ln_1``."""
    return ".".join([word for word in name.split(".") if word not in ("layers", "blocks") and not word.isdigit()][:2])


def _part_of_file(name: str) -> str:
    """``layers.2.blocks.5.ln_1.weight`` becomes ``layers.2.blocks``."""
    return ".".join(name.split(".")[:-1][:3]) or name


def _first(items: Iterable[str]) -> str:
    shown = list(items)
    more = [f"{len(shown) - SHOWN} more"] if len(shown) > SHOWN else []
    return ", ".join(shown[:SHOWN] + more)
