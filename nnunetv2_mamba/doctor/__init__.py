"""What works on this machine, what does not, and the remedy: ``nnUNetv2_mamba doctor``."""

import os
from collections import Counter
from collections.abc import Callable, Iterable

from nnunetv2_mamba.doctor.backends import check_backends, check_devices
from nnunetv2_mamba.doctor.discovery import check_autoload, check_folders, check_trainer_files, check_trainers
from nnunetv2_mamba.doctor.finding import Finding, Status, first_line
from nnunetv2_mamba.doctor.packages import check_extension, check_nnunet, check_torch, check_torchvision, check_versions

__all__ = ["Finding", "Status", "check_torchvision", "diagnose", "report"]

FOLDERS_HEADING = "nnU-Net's folders"


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
        lambda: [check_autoload(environment), check_trainers(environment), *check_trainer_files()],
    )
    yield FOLDERS_HEADING, lambda: check_folders(environment)


def report() -> int:
    """Print every finding with its remedy.

    Returns:
        0 when training would work, 1 when a finding keeps nnU-Net from it; warnings do not count.
    """
    failures: Counter[str] = Counter()
    for heading, checks in diagnose(dict(os.environ)):
        print(heading, flush=True)
        for finding in findings_of(checks):
            print(finding, flush=True)
            failures[heading] += finding.status is Status.FAIL
    print(verdict(+failures))
    return int(failures.total() > 0)


def verdict(failures: Counter[str]) -> str:
    """The last line.

    Args:
        failures: number of failures of each heading that has any.
    """
    if not failures:
        return "training would work"
    if failures.keys() == {FOLDERS_HEADING}:
        return (
            "the installation works, and `nnUNetv2_mamba demo` needs nothing more; "
            "training on your own data needs the folders marked fail above"
        )
    return f"training would not work: {failures.total()} to fix, marked fail above"


def findings_of(checks: Callable[[], list[Finding]]) -> list[Finding]:
    """What the checks under one heading find; a check that cannot even run is a failure of its own.

    Args:
        checks: to be called once.
    """
    # People ask the doctor because something is broken, and a broken package may raise anything at all.
    try:
        return checks()
    except Exception as error:
        text = f"this could not be checked: {first_line(error)}"
        return [Finding(Status.FAIL, text, "fix what fails above, or report this if nothing does")]
