"""``nnUNetv2_mamba convert-weights``: from a VMamba classifier to a file for nnU-Net's ``-pretrained_weights``."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nnunetv2_mamba import __version__

MIN_COVERAGE = 0.9
"""Enough without the three patch mergings (6 % of VMamba's parameters for VM-UNet), too little without a deep level."""


@dataclass
class ConvertWeights:
    """Convert the weights of a VMamba v0 classifier for nnUNetv2_train -pretrained_weights.

    Attributes:
        file: checkpoint of VMamba.
        trainer: trainer that will be trained.
        dataset: id or name of the preprocessed dataset.
        configuration: configuration of the plans.
        out: file to write.
        plans: name of the plans.
        inflate: whether a 3D network may be given weights of 2D ones.
        min_coverage: smallest accepted share of the parameters that VMamba could give.
    """

    file: Path = field(metadata={"help": "VMamba v0 checkpoint", "flags": ("FILE",)})
    trainer: str = field(metadata={"help": "trainer that the weights are for", "flags": ("--trainer", "-tr")})
    dataset: str = field(metadata={"help": "dataset id or name", "flags": ("-d",)})
    configuration: str = field(metadata={"help": "configuration, such as 2d", "flags": ("-c",)})
    out: Path = field(metadata={"help": "file to write; it must not exist", "flags": ("-o",)})
    plans: str = field(default="nnUNetPlans", metadata={"help": "plans", "flags": ("-p",)})
    inflate: bool = field(default=False, metadata={"help": "turn the 2D weights into 3D ones for a 3D network"})
    min_coverage: float = field(
        default=MIN_COVERAGE,
        metadata={"help": "fail if a smaller share of the parameters that VMamba has too is loaded"},
    )

    def run(self) -> int:
        """Write the file, print what was loaded and the training command that uses it.

        Raises:
            SystemExit: something does not fit, with one sentence that says what; nothing was written.
        """
        from nnunetv2_mamba.pretrained.vmamba import WeightsError

        try:
            self._convert()
        except WeightsError as error:
            raise SystemExit(f"convert-weights: {error}") from error
        except OSError as error:
            raise SystemExit(f"convert-weights: {self.out} cannot be written ({error}).") from error
        return 0

    def _convert(self) -> None:
        from nnunetv2_mamba.pretrained.checkpoint_file import read_checkpoint
        from nnunetv2_mamba.pretrained.target import build_target
        from nnunetv2_mamba.pretrained.transfer import transfer
        from nnunetv2_mamba.pretrained.vmamba import require_v0

        self._check()
        source = read_checkpoint(self.file)
        require_v0(source.state, str(self.file))
        target = build_target(self.trainer, dataset=self.dataset, configuration=self.configuration, plans=self.plans)
        self._check_dimension(len(target.network.total_stride))
        state, report = transfer(source.state, target.network, target.image_channels)
        print(f"{self.file}: {len(source.state)} tensors in {source.entry or 'the file itself'}\n{report.table()}")
        report.require(self.min_coverage, str(self.file))
        origin = {
            "version": __version__,
            "source": self.file.name,
            "sha256": source.sha256(),
            "entry": source.entry,
            "trainer": self.trainer,
            "dataset": target.dataset,
            "configuration": self.configuration,
            "plans": self.plans,
            "inflated": self.inflate,
            "loaded": len(report.loaded),
            "missing": len(report.missing),
            "mismatched": len(report.mismatched),
            "unused": len(report.unused),
            "coverage": report.coverage,
        }
        _write({"network_weights": state, "nnunetv2_mamba": origin}, self.out)
        plans = "" if self.plans == "nnUNetPlans" else f" -p {self.plans}"
        print(
            f"{self.out}\ntrain with it: nnUNetv2_train {self.dataset} {self.configuration} FOLD "
            f"-tr {self.trainer}{plans} -pretrained_weights {self.out}"
        )

    def _check(self) -> None:
        """Refuse wrong arguments before a large file is read."""
        from nnunetv2_mamba.pretrained.vmamba import WeightsError

        if not 0 <= self.min_coverage <= 1:
            raise WeightsError(f"--min-coverage is {self.min_coverage}; give a share between 0 and 1.")
        if self.out.exists():
            raise WeightsError(f"{self.out} exists and is not overwritten: remove it or give another name with -o.")
        if not self.out.absolute().parent.is_dir():
            raise WeightsError(f"the folder {self.out.absolute().parent} does not exist: make it, or change -o.")

    def _check_dimension(self, ndim: int) -> None:
        from nnunetv2_mamba.pretrained.vmamba import WeightsError

        if ndim == 3 and not self.inflate:
            raise WeightsError(
                f"{self.configuration} is 3D and VMamba's weights are 2D: add --inflate to turn them into 3D ones."
            )
        if ndim == 2 and self.inflate:
            raise WeightsError(f"{self.configuration} is 2D, where nothing is inflated: leave out --inflate.")


def _write(content: Mapping[str, Any], out: Path) -> None:
    import torch

    from nnunetv2_mamba.files import written_aside

    with written_aside(out) as aside:
        torch.save(dict(content), aside)
