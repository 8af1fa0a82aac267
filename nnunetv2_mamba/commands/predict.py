"""``nnUNetv2_mamba predict``: nnU-Net's prediction, decided by an operating point if one is named."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunetv2_mamba.commands.options import PROGRAM
from nnunetv2_mamba.commands.stock import StockCommand, value_of

OPERATING_POINT = "--operating-point"
PROBABILITIES = "--save_probabilities"


@dataclass
class Predict(StockCommand):
    """Predict with nnU-Net; takes the arguments of nnUNetv2_predict, and --operating-point."""

    def run(self) -> int:
        """Predict, and decide again from the probabilities if an operating point is named."""
        point, arguments = without(self.arguments, OPERATING_POINT)
        if point is None:
            return super().run()
        folder = value_of(arguments, "-o")
        if folder is None:
            raise SystemExit(f"{PROGRAM} predict: {OPERATING_POINT} wants the folder of the predictions as -o FOLDER.")
        for flag in ("--continue_prediction", "-num_parts", "-part_id"):
            if any(argument.partition("=")[0] == flag for argument in arguments):
                raise SystemExit(
                    f"{PROGRAM} predict: {OPERATING_POINT} decides all predictions of a folder when they are there: "
                    f"leave out {flag}."
                )
        require_operating_point(Path(point))
        # argparse takes any beginning of an option for the option.
        keeps = any(len(argument) > 3 and PROBABILITIES.startswith(argument) for argument in arguments)
        self.arguments = arguments if keeps else [*arguments, PROBABILITIES]
        started = time.time()
        code = super().run()
        return code or decide_again(Path(folder), Path(point), since=started, keep_probabilities=keeps)

    def dataset(self) -> str | None:
        """Value of -d."""
        return value_of(self.arguments, "-d")

    def entry(self) -> Any:
        """What nnUNetv2_predict calls."""
        from nnunetv2.inference.predict_from_raw_data import predict_entry_point

        return predict_entry_point


def require_operating_point(point: Path) -> None:
    """Refuse a file that is none before the prediction, which can take hours.

    Raises:
        SystemExit: it does not exist or holds something else.
    """
    from nnunetv2_mamba.evaluation.errors import EvaluationError
    from nnunetv2_mamba.folders.operating_points import read_operating_points

    try:
        read_operating_points(point, None)
    except (EvaluationError, OSError) as error:
        raise SystemExit(f"{PROGRAM} predict: {OPERATING_POINT}: {error}") from error


def decide_again(folder: Path, point: Path, *, since: float, keep_probabilities: bool) -> int:
    """Replace the predictions of a folder by those of an operating point.

    Args:
        folder: that nnU-Net has just written.
        point: file of operating points, or the folder that has it.
        since: when the prediction started, in seconds since the epoch; older files are left alone.
        keep_probabilities: whether the user has asked for them.

    Raises:
        SystemExit: that is not possible; the probabilities stay.
    """
    from nnunetv2_mamba.evaluation.errors import EvaluationError, GeometryError
    from nnunetv2_mamba.folders.operating_points import apply_to_folder

    try:
        number = apply_to_folder(folder, point, since=since, keep_probabilities=keep_probabilities)
    except (EvaluationError, GeometryError, OSError, ValueError) as error:
        raise SystemExit(
            f"{PROGRAM} predict: {error} Predictions in {folder} that have probabilities beside them are nnU-Net's own."
        ) from error
    print(f"{number} predictions decided by {point}")
    return 0


def without(arguments: list[str], flag: str) -> tuple[str | None, list[str]]:
    """Value of a flag, None without it, and the other arguments."""
    value, rest, waiting = None, [], False
    for argument in arguments:
        if waiting:
            value, waiting = argument, False
        elif argument == flag:
            waiting = True
        elif argument.startswith(flag + "="):
            value = argument.removeprefix(flag + "=")
        else:
            rest.append(argument)
    if waiting:
        raise SystemExit(f"{PROGRAM} predict: {flag} wants a file: name operating_point.json.")
    return value, rest
