"""``nnUNetv2_mamba doctor``: what works on this machine."""

from dataclasses import dataclass


@dataclass
class Doctor:
    """Say what works on this machine, what does not, and the remedy; exit code 0 when training would work."""

    def run(self) -> int:
        """Print every finding and return 1 if one of them keeps nnU-Net from training."""
        from nnunetv2_mamba.doctor import report

        return report()
