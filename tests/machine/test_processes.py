"""Tests of mini_models.machine.processes: shards are the whole in parts, and many speak once."""

import signal
import subprocess
import sys

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.testing import assert_close

from mini_models.gpt import GPT, GPTConfig
from mini_models.machine.processes import (
    fully_shard,
    gathered,
    is_sharded,
    noticing_lost_processes,
    placed_as,
    process_count,
    process_index,
    refuse_launched_alone,
    speak_for_all,
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


def test_a_sharded_model_computes_what_the_whole_one_does(group):
    whole, sharded = small_gpt(), fully_shard(small_gpt(), CPU)
    ids = torch.randint(11, (3, 8))
    outs = [model(ids) for model in (whole, sharded)]
    assert_close(*outs)
    for out in outs:
        out.square().mean().backward()
    for p, q in zip(whole.parameters(), sharded.parameters()):
        assert is_sharded(q) and not is_sharded(p)
        assert_close(gathered(q.grad), p.grad)


# properties


def test_layers_are_gathered_one_at_a_time(group):
    from torch.distributed.fsdp import FSDPModule

    model = fully_shard(small_gpt(), CPU)
    units = [name for name, m in model.named_modules() if isinstance(m, FSDPModule)]
    assert units == ["", "transformer.blocks.0", "transformer.blocks.1"]
    assert fully_shard(model, CPU) is model  # a second training leaves the shards as they are


def test_lists_in_lists_are_sharded_from_the_inside(group):
    model = nn.Sequential(nn.Linear(2, 2))
    model.levels = nn.ModuleList(
        nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)]) for _ in range(2)
    )
    fully_shard(model, CPU)
    assert len(list(model.parameters())) == 10
    assert all(is_sharded(p) for p in model.parameters())


def test_a_tensor_is_placed_in_the_layout_of_another():
    other = torch.zeros(3, 4).T.contiguous().T
    placed = placed_as(torch.arange(12.0).view(3, 4), other)
    assert placed.stride() == other.stride() != (4, 1)
    assert_close(placed, torch.arange(12.0).view(3, 4))


def test_of_many_processes_the_first_speaks(capsys, monkeypatch):
    assert (process_index(), process_count()) == (0, 1)
    store = dist.TCPStore("127.0.0.1", 0, is_master=True)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(store.port))
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert (process_index(), process_count()) == (1, 2)
    speak_for_all("error: one")
    speak_for_all("error: one")
    assert capsys.readouterr().err == "error: one\n"
    monkeypatch.setenv("WORLD_SIZE", "1")  # alone, it may speak as often as it likes
    speak_for_all("error: two")
    assert capsys.readouterr().err == "error: two\n"


def test_a_process_that_is_ended_speaks_first_even_when_deep_in_c():
    script = (
        "import ctypes\n"
        "from mini_models.machine.processes import speak_for_all_when_ended\n"
        "speak_for_all_when_ended(lambda: 'the last word')\n"
        "print('ready', flush=True)\n"
        "ctypes.CDLL(None).sigwait(ctypes.c_char_p(bytes(128)), None)\n"  # never returns
    )
    command = [sys.executable, "-c", script]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    try:
        said = process.communicate(timeout=30)[1]
    finally:
        process.kill()
    assert (process.returncode, said) == (1, "the last word\n")


# refuses


def test_what_a_backend_says_of_a_lost_process_becomes_one_error():
    for error in (
        RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer"),
        dist.DistBackendError("NCCL communicator was aborted"),
    ):
        with (
            pytest.raises(ConnectionError, match="another process of this run is gone"),
            noticing_lost_processes(),
        ):
            raise error
    with pytest.raises(RuntimeError, match="shapes"), noticing_lost_processes():
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


def test_one_process_where_a_launcher_was_asked_for_several_is_refused(monkeypatch):
    for name in ("RANK", "MASTER_PORT", "ACCELERATE_MIXED_PRECISION"):
        monkeypatch.delenv(name, raising=False)
    refuse_launched_alone()
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    monkeypatch.setenv("MASTER_PORT", "29500")
    with pytest.raises(ValueError, match="asked for several processes and started one: write acc"):
        refuse_launched_alone()
    monkeypatch.setenv("RANK", "0")
    refuse_launched_alone()
