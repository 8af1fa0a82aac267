"""``nnUNetv2_mamba trainers``: our trainers by name."""

from dataclasses import dataclass, field

from nnunetv2_mamba import plugin
from nnunetv2_mamba.commands.options import option


@dataclass
class Trainers:
    """List our trainers, or the folder that nnUNet_extTrainer has to name."""

    folder: bool = field(default=False, metadata=option("print their folder, for nnUNet_extTrainer"))

    def run(self) -> int:
        """Print one name per line, or the folder."""
        print(plugin.trainers_folder() if self.folder else "\n".join(plugin.trainer_names()))
        return 0
