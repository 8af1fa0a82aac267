"""``nnUNetv2_mamba demo``: from raw images to a report, with stock nnU-Net, on the sample of this package."""

import json
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from nnunetv2_mamba import plugin
from nnunetv2_mamba.demo.dataset import DATASET_ID, DATASET_NAME, cases_in, copy_sample, eye_of, write_splits
from nnunetv2_mamba.demo.scores import DemoScores, read_scores, table_of
from nnunetv2_mamba.demo.shell import CommandError, Shell
from nnunetv2_mamba.training.settings import EPOCHS_VARIABLE, ITERATIONS_VARIABLE, VAL_ITERATIONS_VARIABLE

EPOCHS = 20
ITERATIONS = 20
VAL_ITERATIONS = 4
CONFIGURATION = "2d"
FOLD = "0"
QUICK_RUN = {
    EPOCHS_VARIABLE: str(EPOCHS),
    ITERATIONS_VARIABLE: str(ITERATIONS),
    VAL_ITERATIONS_VARIABLE: str(VAL_ITERATIONS),
}


class DemoError(RuntimeError):
    """The demo cannot go on; the message says why and what to do."""


@dataclass
class Demo:
    """Plans, trains, predicts and evaluates on real fundus images, showing each nnU-Net command before it runs.

    A second run keeps what is finished and goes on from there. The demo deletes nothing.

    Attributes:
        out: folder for everything it writes; new, empty, or of an earlier run.
        trainer: one of this package's trainers; other trainers ignore `epochs` and take their full length.
        epochs: length of the training; None for the length that suits two CPU cores.
    """

    out: Path = field(default=Path("nnunetv2_mamba_demo"), metadata={"help": "folder for everything the demo writes"})
    trainer: str = field(default="nnUNetTrainerS3MambaFine", metadata={"help": "one of our trainers"})
    epochs: int | None = field(default=None, metadata={"help": f"epochs of {ITERATIONS} iterations (default {EPOCHS})"})

    def run(self) -> int:
        """Does everything; prints one sentence to stderr where something fails.

        Returns:
            Exit code: 0, that of the nnU-Net command that failed, 2 for wrong arguments, 130 when interrupted.
        """
        try:
            self._run()
        except DemoError as error:
            print(f"demo: {error}", file=sys.stderr)
            return 2
        except CommandError as error:
            print(f"\ndemo: {error}", file=sys.stderr)
            return error.exit_code
        except KeyboardInterrupt:
            print("\ndemo: interrupted; the same command goes on from the last finished step", file=sys.stderr)
            return 130
        return 0

    def _run(self) -> None:
        started = time.perf_counter()
        self._claim_folder()
        shell = Shell(self._root, self._variables())
        print(
            "The last two commands below are this package's, the others are stock nnU-Net's. "
            "To type them yourself, start with these lines:\n"
        )
        shell.show_setting()
        dataset = copy_sample(self._root / "nnUNet_raw")
        print(
            f"\n# Copied the sample into {dataset.relative_to(self._root)}; its ATTRIBUTION.txt says where it is from"
        )
        self._plan(shell, dataset)
        self._train(shell)
        self._predict(shell)
        self._evaluate(shell)
        self._report(shell)
        self._conclude(read_scores(self._predictions), dataset)
        shell.seconds["total"] = time.perf_counter() - started
        print("\n" + "\n".join(f"{step:<12}{seconds:7.0f} s" for step, seconds in shell.seconds.items()))

    @property
    def _root(self) -> Path:
        return Path(self.out).expanduser().resolve()

    @property
    def _predictions(self) -> Path:
        return self._root / "predictions" / self.trainer

    @property
    def _page(self) -> Path:
        return self._root / "report.html"

    @property
    def _fold(self) -> Path:
        model = f"{self.trainer}__nnUNetPlans__{CONFIGURATION}"
        return self._root / "nnUNet_results" / DATASET_NAME / model / f"fold_{FOLD}"

    @property
    def _device(self) -> str:
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"

    def _variables(self) -> dict[str, str]:
        """Variables for the commands: folders, a short training, few processes; variables that are set are kept."""
        folders = {name: str(self._root / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
        quick = {
            **QUICK_RUN,
            "nnUNet_n_proc_DA": "1",
            "nnUNet_def_n_proc": "1",
            # Threads that spin while they wait slow down the process that augments the images.
            "OMP_WAIT_POLICY": "PASSIVE",
            "PYTHONUNBUFFERED": "1",
        }
        if self._device == "cuda":
            # Compiling takes longer than this short training.
            quick["nnUNet_compile"] = "f"
        variables = folders | {name: os.environ.get(name, value) for name, value in quick.items()}
        if self.epochs is not None:
            variables[EPOCHS_VARIABLE] = str(self.epochs)
        return variables

    def _claim_folder(self) -> None:
        """Checks that the demo may use the folder, and saves the settings of each training in it."""
        if self.epochs is not None and self.epochs < 1:
            raise DemoError(f"{self.epochs} epochs are too few; ask for 1 or more")
        settings_file = self._root / "demo.json"
        if self.trainer not in plugin.trainer_names():
            names = ", ".join(plugin.trainer_names())
            raise DemoError(f"{self.trainer} is not a trainer of this package: choose one of {names}")
        if self._root.exists() and not settings_file.exists() and (self._root.is_file() or any(self._root.iterdir())):
            raise DemoError(f"{self._root} exists and is not the folder of a demo; name another folder with --out")
        settings = json.loads(settings_file.read_text()) if settings_file.exists() else {}
        wanted = {name: value for name, value in self._variables().items() if name in QUICK_RUN}
        earlier = settings.get(self.trainer, wanted)
        checkpoints = [self._fold / f"checkpoint_{name}.pth" for name in ("latest", "final")]
        if earlier != wanted and any(file.exists() for file in checkpoints):
            was, now = (" ".join(f"{name}={value}" for name, value in values.items()) for values in (earlier, wanted))
            raise DemoError(f"{self._root} holds a training with {was}, not {now}; name another folder with --out")
        settings[self.trainer] = wanted
        self._root.mkdir(parents=True, exist_ok=True)
        settings_file.write_text(json.dumps(settings, indent=2) + "\n")

    def _plan(self, shell: Shell, dataset: Path) -> None:
        reason = "Look at the images, plan a network and a patch size for them, preprocess them"
        command = ["nnUNetv2_plan_and_preprocess", "-d", DATASET_ID, "-c", CONFIGURATION, "--verify_dataset_integrity"]
        command += ["-npfp", "1", "-np", "1"]
        preprocessed = self._root / "nnUNet_preprocessed" / DATASET_NAME
        if (preprocessed / "splits_final.json").exists():
            shell.show(f"{reason}: done earlier", command)
            return
        shell.run("plan", reason, command)
        splits = write_splits(dataset, preprocessed).relative_to(self._root)
        print(f"\n# Wrote {splits}: folds by eye, so that no eye is in both training and validation")

    def _train(self, shell: Shell) -> None:
        reason = "Train one fold: each epoch prints its losses and the Dice of each class on validation patches"
        command = ["nnUNetv2_train", DATASET_ID, CONFIGURATION, FOLD, "-tr", self.trainer, "-device", self._device]
        if (self._fold / "validation" / "summary.json").exists():
            shell.show(f"{reason}: done earlier", command)
        elif (self._fold / "checkpoint_final.pth").exists():
            shell.run("train", "Training is done, its validation is not", [*command, "--val"])
        elif (self._fold / "checkpoint_latest.pth").exists():
            shell.run("train", "Go on with the training from its last checkpoint", [*command, "--c"])
        else:
            shell.run("train", reason, command)

    def _predict(self, shell: Shell) -> None:
        images, out = Path("nnUNet_raw", DATASET_NAME, "imagesTs"), self._predictions.relative_to(self._root)
        command = ["nnUNetv2_predict", "-i", str(images), "-o", str(out), "-d", DATASET_ID, "-c", CONFIGURATION]
        command += ["-f", FOLD, "-tr", self.trainer, "-device", self._device, "-npp", "1", "-nps", "1"]
        shell.run("predict", "Predict images of eyes that the network has never seen", command)

    def _evaluate(self, shell: Shell) -> None:
        raw, out = Path("nnUNet_raw", DATASET_NAME), self._predictions.relative_to(self._root)
        files = ["-djfile", str(out / "dataset.json"), "-pfile", str(out / "plans.json"), "-np", "1"]
        command = ["nnUNetv2_evaluate_folder", str(raw / "labelsTs"), str(out), *files]
        shell.run("evaluate", "Compare the predictions with the lesions that experts drew, pixel by pixel", command)
        command = ["nnUNetv2_mamba", "evaluate", "-ref", str(raw / "labelsTs"), "-pred", str(out), *files]
        command += ["--images", str(raw / "imagesTs")]
        shell.run("lesions", "Compare them lesion by lesion: true positives, missed lesions, false positives", command)

    def _report(self, shell: Shell) -> None:
        out = self._predictions.relative_to(self._root)
        command = ["nnUNetv2_mamba", "report", str(out), "-o", self._page.name]
        # Tiles of one eye are alike, so eyes should be drawn and not tiles. But four eyes are too few for an interval.
        reason = "Put it on one page, with pictures; with more eyes, --patient '^IDRiD_[0-9]+' gives intervals by eye"
        shell.run("report", reason, command)

    def _conclude(self, scores: list[DemoScores], dataset: Path) -> None:
        from nnunetv2_mamba.demo.figure import draw

        cases = cases_in(dataset / "labelsTs")
        print(f"\n{len(cases)} held-out tiles of {len({eye_of(case) for case in cases})} eyes")
        print("\n".join(table_of(scores)))
        draw(dataset, self._predictions, scores=scores, trainer=self.trainer, out=self._root / "demo.png")
        print(f"\nreport    {self._page}\npicture   {self._root / 'demo.png'}")
        print(f"numbers   {self._predictions / 'summary.json'}, {self._predictions / 'lesion_summary.json'}")
        print(f"training  {self._fold / 'progress.png'}")
