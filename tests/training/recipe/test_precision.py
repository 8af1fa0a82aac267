"""Under autocast the scan stays in float32, and training survives large inputs in both half precisions."""

from typing import ClassVar

import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import nn

from nnunetv2_mamba.building_blocks.mamba import Mamba
from nnunetv2_mamba.building_blocks.ss2d import SSND
from nnunetv2_mamba.ops.scan import interface
from nnunetv2_mamba.trainers.nnUNetTrainerSegMamba import nnUNetTrainerSegMamba
from nnunetv2_mamba.trainers.nnUNetTrainerVMUNet_EnCF_TCMA import nnUNetTrainerVMUNet_EnCF_TCMA
from nnunetv2_mamba.training.recipe.autocast import autocast_in
from tests.architectures.small_networks import small_network, sweep
from tests.training.batches import batch_for

HALVES = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
SCAN_INPUTS = ("u", "delta", "A", "B", "C", "D", "delta_bias")
CUDA = torch.device("cuda")


class SmallTrainer(nnUNetTrainerVMUNet_EnCF_TCMA):
    network_overrides: ClassVar = {
        "features_per_stage": (8, 16),
        "d_state": 2,
        "n_blocks_per_stage": (1, 1),
        "n_blocks_per_stage_decoder": (1, 1),
    }


class SmallSegMambaTrainer(nnUNetTrainerSegMamba):
    network_overrides: ClassVar = {
        "features_per_stage": (4, 8, 8),
        "n_blocks_per_stage": 1,
        "n_blocks_per_stage_decoder": 1,
    }
    initial_lr = 1e-3


@pytest.fixture
def scans(monkeypatch) -> list[dict[str, torch.Tensor]]:
    """Tensors that reach the op in which delta's softplus and the recurrence are computed, call by call."""
    calls = []
    original = interface.grid_scan

    def record(tensors, **options):
        calls.append({name: getattr(tensors, name) for name in SCAN_INPUTS})
        calls[-1]["y"] = original(tensors, **options)
        return calls[-1]["y"]

    monkeypatch.setattr(interface, "grid_scan", record)
    return calls


@HALVES
@sweep
@pytest.mark.parametrize("conv_op", [nn.Conv2d, nn.Conv3d])
def test_every_scan_gets_and_gives_float32(scans, dtype, name, conv_op):
    dim = 2 if conv_op is nn.Conv2d else 3
    strides = ((1,) * dim, (4,) * dim, (2,) * dim)
    network = small_network(name, 1, 2, strides, widths=(8, 16), conv_op=conv_op, d_state=3)
    products = []
    for module in network.modules():
        if isinstance(module, nn.Linear):
            module.register_forward_hook(lambda module, arguments, output: products.append(output.dtype))
    with torch.autocast("cpu", dtype):
        network(torch.rand(1, 1, *(16,) * dim))
    assert dtype in products
    assert len(scans) == sum(isinstance(module, SSND | Mamba) for module in network.modules()) > 2
    assert {tensor.dtype for scan in scans for tensor in scan.values()} == {torch.float32}
    # Nor were step sizes rounded on their way.
    assert all((scan["delta"].to(dtype).float() != scan["delta"]).any() for scan in scans)
    # Nor was A, which starts as -1..-N, rounded to half precision on its way from the logarithm.
    for scan in scans:
        expected = -torch.arange(1.0, 1 + scan["A"].shape[-1]).expand_as(scan["A"])
        torch.testing.assert_close(scan["A"], expected, rtol=1e-6, atol=0)


@HALVES
@pytest.mark.parametrize(("trainer_class", "steps"), [(SmallTrainer, 200), (SmallSegMambaTrainer, 50)])
def test_many_steps_on_large_inputs_stay_finite(make_trainer, monkeypatch, trainer_class, steps, dtype):
    monkeypatch.setenv("NNUNETV2_MAMBA_AUTOCAST", str(dtype).removeprefix("torch."))
    trainer = make_trainer(trainer_class)
    torch.manual_seed(0)
    trainer.initialize()
    outputs, logits = [], []
    trainer.network.register_forward_hook(lambda module, arguments, output: outputs.append(output[0].dtype))
    trainer.loss.register_forward_hook(lambda module, arguments, loss: logits.extend(one.dtype for one in arguments[0]))
    trainer.num_epochs = 1
    batches = [batch_for(trainer, seed) for seed in range(4)]
    for batch in batches:
        batch["data"] *= 1e3
    trainer.on_train_epoch_start()
    losses = [trainer.train_step(batches[step % 4]) for step in range(steps)]
    assert set(outputs) == {dtype}
    assert set(logits) == {torch.float32}
    # GradScaler may try too large a scale at the start; that costs no more steps than it takes to come down from 65536.
    assert trainer.gradient_guard.in_epoch <= (16 if dtype is torch.float16 else 0)
    assert all(torch.isfinite(torch.as_tensor(output["loss"])) for output in losses)
    assert all(torch.isfinite(tensor).all() for tensor in trainer.network.state_dict().values())
    assert sum(o["loss"] for o in losses[-20:]) < sum(o["loss"] for o in losses[:20])
    with torch.no_grad():
        assert torch.isfinite(torch.as_tensor(trainer.validation_step(batches[0])["loss"]))


def test_bfloat16_needs_no_scaler_and_float16_gets_one(make_trainer, monkeypatch):
    scalers = {}
    for name in ("float16", "bfloat16"):
        monkeypatch.setenv("NNUNETV2_MAMBA_AUTOCAST", name)
        trainer = make_trainer(SmallTrainer)
        trainer.initialize()
        scalers[name] = trainer.grad_scaler
    assert scalers["float16"].is_enabled()
    assert scalers["bfloat16"] is None


@pytest.mark.parametrize("name", [None, "bfloat16"])
def test_the_final_validation_predicts_in_the_dtype_too(make_trainer, monkeypatch, name):
    if name is not None:
        monkeypatch.setenv("NNUNETV2_MAMBA_AUTOCAST", name)
    trainer = make_trainer(SmallTrainer)
    trainer.initialize()
    predictor = nnUNetPredictor(device=torch.device("cpu"), use_mirroring=False, allow_tqdm=False)
    outputs, predicted = [], []
    trainer.network.register_forward_hook(lambda module, arguments, output: outputs.append(output.dtype))

    def predict(trainer: nnUNetTrainer, save_probabilities: bool) -> None:
        trainer.set_deep_supervision_enabled(False)
        predictor.manual_initialization(
            trainer.network,
            trainer.plans_manager,
            trainer.configuration_manager,
            None,
            trainer.dataset_json,
            "SmallTrainer",
            None,
        )
        predicted.append(predictor.predict_sliding_window_return_logits(torch.rand(1, 1, 24, 16)))

    monkeypatch.setattr(nnUNetTrainer, "perform_actual_validation", predict)
    trainer.perform_actual_validation()
    assert set(outputs) == {torch.bfloat16 if name else torch.float32}
    assert torch.isfinite(predicted[0]).all()
    assert predicted[0].shape == (2, 1, 24, 16)


def test_nnunets_autocast_gets_the_dtype_only_where_it_is_asked_for():
    stock = torch.get_autocast_dtype("cuda")

    def raise_inside(dtype: torch.dtype) -> None:
        with autocast_in(dtype, CUDA):
            assert torch.get_autocast_dtype("cuda") is dtype
            raise KeyboardInterrupt

    for dtype in (torch.bfloat16, torch.float16):
        with pytest.raises(KeyboardInterrupt):
            raise_inside(dtype)
        assert torch.get_autocast_dtype("cuda") is stock
    with autocast_in(None, CUDA):
        assert torch.get_autocast_dtype("cuda") is stock


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_stock_steps_on_cuda_compute_in_the_dtype(make_trainer, monkeypatch, name):
    monkeypatch.setenv("NNUNETV2_MAMBA_AUTOCAST", name)
    monkeypatch.setenv("nnUNet_compile", "false")
    trainer = make_trainer(SmallTrainer, device=CUDA)
    trainer.initialize()
    outputs = []
    trainer.network.register_forward_hook(lambda module, arguments, output: outputs.append(output[0].dtype))
    trainer.train_step(batch_for(trainer))
    with torch.no_grad():
        trainer.validation_step(batch_for(trainer))
    assert outputs == [getattr(torch, name)] * 2
