"""Tests of mini_models.machine.devices: where numbers are, and what that place is good at."""

import pytest
import torch
from torch import nn

from mini_models.machine.devices import best_device, device_of, on_device, prefers_bf16

# agrees with what torch says


def test_a_model_is_where_its_numbers_are():
    for place in ("cpu", "meta"):
        assert device_of(nn.Linear(2, 2, device=place)) == torch.device(place)


@pytest.mark.parametrize(
    "cuda, mps, best", [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_the_best_device_is_the_gpu_if_there_is_one(cuda, mps, best, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: cuda)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: mps)
    assert best_device() == torch.device(best)


def test_a_number_can_be_put_on_the_best_device_of_this_machine():
    assert torch.zeros(1, device=best_device()).device.type == best_device().type


# properties


@pytest.mark.parametrize("capability, prefers", [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_gpus_since_2020_prefer_bfloat16(capability, prefers, monkeypatch):
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: capability)
    assert prefers_bf16(torch.device("cuda")) == prefers


@pytest.mark.parametrize(
    "can, prefers",
    [
        ({}, False),
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True}, True),
        ({"avx2": True}, False),
    ],
)
def test_a_cpu_prefers_bfloat16_where_it_multiplies_it_in_hardware(can, prefers, monkeypatch):
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: can, raising=False)
    assert prefers_bf16(torch.device("cpu")) is prefers
    monkeypatch.delattr("torch.cpu.get_capabilities")  # as in an older torch
    assert prefers_bf16(torch.device("cpu")) is False


def test_other_devices_stay_with_float32():
    assert prefers_bf16(torch.device("mps")) is False
    assert isinstance(prefers_bf16(torch.device("cpu")), bool)


def test_a_generator_goes_to_the_device_where_its_numbers_are_wanted(monkeypatch):
    here = torch.Generator().manual_seed(3)
    assert on_device(None, torch.device("cuda")) is None
    assert on_device(here, torch.device("cpu")) is here and on_device(here, "cpu") is here
    made = []

    class There:  # no other device is at hand: what would be made, and from which seed
        def __init__(self, device):
            made.append(str(device))

        def manual_seed(self, seed):
            made.append(seed)
            return self

    monkeypatch.setattr("torch.Generator", There)
    first, second = on_device(here, "cuda"), on_device(here, torch.device("cuda"))
    assert isinstance(first, There) and isinstance(second, There)
    assert made[0] == made[2] == "cuda" and made[1] != made[3]  # every draw goes on
