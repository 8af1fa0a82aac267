"""``nnUNetv2_mamba plan``: plans that name one of our networks."""

from dataclasses import dataclass, field

from nnunetv2_mamba.commands.options import PROGRAM, option


@dataclass
class Plan:
    """Derive a plans file that names one of our networks, sharing the preprocessed data of the plans it comes from."""

    dataset: str = field(metadata=option("dataset id or name", "-d"))
    source: str = field(default="nnUNetPlans", metadata=option("plans to start from", "--from", metavar="PLANS"))
    network: str = field(default="S3Mamba", metadata=option("one of our networks"))
    stem: str | None = field(
        default=None,
        metadata=option(
            "what comes in front of the blocks of a VSS network: patch, as published, or conv, which keeps every voxel",
            choices=("patch", "conv"),
        ),
    )
    configurations: list[str] | None = field(
        default=None, metadata=option("configurations that get the network; all unless given", "-c", nargs="+")
    )
    name: str | None = field(
        default=None, metadata=option("name of the new plans; made of the names of plans and network unless given")
    )
    checkpointed_stages: list[int] | None = field(
        default=None,
        metadata=option("stages with activation checkpointing: less memory, more time; 0 is the finest", nargs="+"),
    )
    batch_size: int | None = field(
        default=None, metadata=option("samples in a training step; as nnU-Net planned unless given", metavar="N")
    )

    def run(self) -> int:
        """Write the plans file and print the training command that uses it."""
        from nnunetv2_mamba.plans.derive import derive_plans_file

        try:
            path = derive_plans_file(
                self.dataset,
                self.source,
                self.network,
                configurations=self.configurations,
                plans_name=self.name,
                stem=self.stem,
                checkpointed_stages=self.checkpointed_stages,
                batch_size=self.batch_size,
            )
        except (OSError, RuntimeError, ValueError) as error:
            raise SystemExit(f"{PROGRAM} plan: {error}") from error
        print(f"{path}\ntrain it with: nnUNetv2_train {self.dataset} CONFIGURATION FOLD -p {path.stem}")
        return 0
