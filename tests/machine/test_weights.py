"""Tests of mini_models.machine.weights: tensors come back from a file, whole, or are refused."""

import json
from copy import deepcopy

import pytest
import torch
import torch.distributed as dist
from safetensors import safe_open
from safetensors.torch import load_file
from torch.testing import assert_close

from mini_models.gpt import GPT, GPTConfig
from mini_models.machine.processes import fully_shard, is_sharded
from mini_models.machine.weights import (
    full_weights,
    load_optimizer_state,
    load_weights,
    optimizer_state,
    read_about,
    read_safetensors,
    write_safetensors,
)

CPU = torch.device("cpu")


@pytest.fixture
def group():
    """A process group of this process alone; of two, tests/test_train.py tells."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def small_gpt():
    torch.manual_seed(1)
    return GPT(GPTConfig(11, 8, n_layers=2, n_heads=2, d_model=16, positions="rotary"))


# agrees with an independent implementation


def test_what_is_written_is_what_safetensors_reads(tmp_path):
    path, tensors = tmp_path / "new" / "file.safetensors", small_gpt().state_dict()
    write_safetensors(path, tensors, {"steps": 3, "who": ["明", None]})
    assert_close(load_file(path), dict(tensors))
    with safe_open(path, "pt") as file:
        said = {k: json.loads(v) for k, v in file.metadata().items()}
    assert said == read_about(path) == {"steps": 3, "who": ["明", None]}
    assert_close(read_safetensors(path)[0], dict(tensors), rtol=0, atol=0)
    assert read_safetensors(path)[1] == said


# properties


def test_tensors_of_any_kind_and_layout_come_back(tmp_path):
    x = torch.arange(6.0).view(2, 3)
    tensors = {"turned": x.T, "row": x[0], "half": x.bfloat16(), "count": torch.tensor(3)}
    tensors["learns"] = x.clone().requires_grad_()
    write_safetensors(tmp_path / "file", tensors, {})
    found, about = read_safetensors(tmp_path / "file")
    assert about == {} and not found["learns"].requires_grad
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name


def test_weights_take_the_place_of_others_and_keep_their_layout(tmp_path):
    first, second = small_gpt(), small_gpt()
    for p in second.parameters():
        torch.nn.init.normal_(p)
    strides = [p.stride() for p in first.parameters()]
    load_weights(first, dict(second.state_dict()), tmp_path)
    assert_close(first.state_dict(), second.state_dict(), rtol=0, atol=0)
    assert [p.stride() for p in first.parameters()] == strides


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.SGD])
def test_an_optimizer_that_comes_back_goes_on_as_if_it_had_not_stopped(kind):
    def grown(stop):
        torch.manual_seed(0)
        layer = torch.nn.Linear(3, 2)
        options = {"lr": 0.1} if kind is torch.optim.AdamW else {"lr": 0.1, "momentum": 0.9}
        optimizer = kind(layer.parameters(), **options)
        for step in range(6):
            if step == stop:
                state = {k: v.clone() for k, v in optimizer_state(optimizer).items()}
                optimizer = kind(layer.parameters(), **options)
                load_optimizer_state(optimizer, state)
            optimizer.zero_grad()
            layer(torch.full((1, 3), float(step))).square().sum().backward()
            optimizer.step()
        return layer.weight.detach(), sorted(optimizer_state(optimizer))

    (whole, names), (again, same) = grown(stop=None), grown(stop=3)
    assert torch.equal(whole, again) and names == same
    assert all(name.split(".")[0] in "01" for name in names) and len(names) >= 2


def test_full_weights_are_whole_and_come_back(group, tmp_path):
    whole = small_gpt()
    model = fully_shard(deepcopy(whole), CPU)
    weights = full_weights(model)
    assert_close(weights, whole.state_dict())
    assert not any(is_sharded(t) for t in weights.values())
    more = {name: t + 1 for name, t in weights.items()}
    load_weights(model, more, tmp_path)
    assert_close(full_weights(model), more)


# refuses


def test_a_missing_and_a_damaged_file_are_refused(tmp_path):
    path = tmp_path / "file.safetensors"
    for read in (read_safetensors, read_about):
        with pytest.raises(ValueError, match="there is no file.safetensors in .*: nothing to load"):
            read(path)
    write_safetensors(path, {"x": torch.zeros(9)}, {})
    path.write_bytes(path.read_bytes()[:-1])
    for read in (read_safetensors, read_about):
        with pytest.raises(ValueError, match=r"is damaged or cut short \(.*\): make it again"):
            read(path)


def test_weights_of_another_model_are_refused_by_name(tmp_path):
    model = torch.nn.Linear(3, 2)
    said = "is for another model: its weight has shape {}, this one's {}"
    for tensors, shapes in (
        ({"weight": torch.zeros(2, 4), "bias": torch.zeros(2)}, (r"\[2, 4\]", r"\[2, 3\]")),
        ({"bias": torch.zeros(2)}, ("none", r"\[2, 3\]")),
    ):
        with pytest.raises(ValueError, match=said.format(*shapes)):
            load_weights(model, tensors, tmp_path / "file")
    with pytest.raises(ValueError, match="its extra has shape .*, this one's none"):
        load_weights(model, model.state_dict() | {"extra": torch.zeros(1)}, tmp_path / "file")
