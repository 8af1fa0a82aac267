"""What works on this machine, what does not, and the remedy: ``nnUNetv2_mamba doctor``."""

import os
from collections.abc import Callable, Iterable

from nnunetv2_mamba.doctor.backends import check_backends, check_devices
from nnunetv2_mamba.doctor.discovery import check_autoload, check_folders, check_trainers
from nnunetv2_mamba.doctor.finding import Finding, Status
from nnunetv2_mamba.doctor.packages import check_extension, check_nnunet, check_torch, check_torchvision, check_versions

__all__ = ["Finding", "Status", "diagnose", "report"]


def diagnose(environment: dict[str, str]) -> Iterable[tuple[str, Callable[[], list[Finding]]]]:
    """The checks under their headings, each to be called when its turn comes.

    Args:
        environment: the variables as the user set them, before importing torch added our folder.
    """
    yield "versions", lambda: [check_versions(), check_torch(), check_nnunet(), check_torchvision()]
    yield "optional CUDA packages", lambda: [check_extension("mamba-ssm"), check_extension("causal-conv1d")]
    yield "devices", check_devices
    yield "backends", check_backends
    yield (
        "how nnU-Net finds our trainers",
        lambda: [check_autoload(environment), check_trainers(environment)],
    )
    yield "nnU-Net's folders", lambda: check_folders(environment)


def report() -> int:
    """Print every finding with its remedy.

    Returns:
        0 when training would work, 1 when a finding keeps nnU-Net from it; warnings do not count.
    """
    failures = 0
    for heading, checks in diagnose(dict(os.environ)):
        print(heading, flush=True)
        for finding in checks():
            print(finding, flush=True)
            failures += finding.status is Status.FAIL
    print("training would work" if not failures else f"training would not work: {failures} to fix, marked fail above")
    return int(failures > 0)
