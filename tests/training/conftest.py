"""Real nnU-Net trainers on toy plans, in folders of their own."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

CPU = torch.device("cpu")
TrainerFactory = Callable[..., nnUNetTrainer]
Start = Callable[..., tuple[multiprocessing.Process, Connection]]


def toy_plans(strides: Sequence[Sequence[int]], patch_size: Sequence[int]) -> dict:
    dim = len(patch_size)
    return {
        "dataset_name": "Dataset999_Toy",
        "plans_name": "nnUNetPlans",
        "label_manager": "LabelManager",
        "configurations": {
            "toy": {
                "data_identifier": "toy",
                "batch_size": 2,
                "batch_dice": True,
                "patch_size": list(patch_size),
                "use_mask_for_norm": [False],
                "architecture": {
                    "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
                    "arch_kwargs": {
                        "n_stages": len(strides),
                        "features_per_stage": [min(32 * 2**i, 512) for i in range(len(strides))],
                        "kernel_sizes": [[3] * dim] * len(strides),
                        "strides": [list(stride) for stride in strides],
                        "conv_op": f"torch.nn.modules.conv.Conv{dim}d",
                    },
                    "_kw_requires_import": ["conv_op"],
                },
            }
        },
    }


@pytest.fixture(scope="session")
def make_trainer(tmp_path_factory) -> Iterator[TrainerFactory]:
    """Call with a trainer class, strides and a patch size; further arguments go into dataset.json."""
    root = tmp_path_factory.mktemp("nnunet")
    # initialize() looks at the file endings of the preprocessed data to find the class that reads them.
    (root / "preprocessed" / "Dataset999_Toy" / "toy").mkdir(parents=True)
    (root / "preprocessed" / "Dataset999_Toy" / "toy" / "case.b2nd").touch()

    def make(
        trainer_class: type[nnUNetTrainer],
        strides: Sequence[Sequence[int]] = ((1, 1), (2, 2), (2, 2), (2, 2)),
        patch_size: Sequence[int] = (16, 16),
        n_channels: int = 1,
        device: torch.device = CPU,
        **dataset_json: object,
    ) -> nnUNetTrainer:
        channels = {str(i): "noNorm" for i in range(n_channels)}
        dataset = {"channel_names": channels, "labels": {"background": 0, "lesion": 1}, **dataset_json}
        plans = {**toy_plans(strides, patch_size), "continue_training": False}
        return trainer_class(plans, "toy", 0, dataset, device)

    with pytest.MonkeyPatch.context() as patch:
        for folder in ("raw", "preprocessed", "results"):
            patch.setenv(f"nnUNet_{folder}", str(Path(root, folder)))
        yield make


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """Toy networks wait longer for threads than they compute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def start() -> Start:
    """Starts a function in a process of its own, forked from one that has imported everything.

    Call with the function and its arguments; its last one is the end of a pipe, whose other end is returned.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        pytest.skip("this system cannot fork")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.training.resumable", "tests.training.guarded_rank"])

    def start_process(function: Callable, *arguments: Any) -> tuple[multiprocessing.Process, Connection]:
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=function, args=(*arguments, sender), daemon=True)
        process.start()
        sender.close()
        return process, receiver

    return start_process
