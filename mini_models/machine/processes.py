"""Processes: several of them train as one, share a model out among themselves, and speak once.

A launcher starts them and tells each its place in the environment: RANK of WORLD_SIZE, and the
MASTER_ADDR and MASTER_PORT where all can leave a word for the others.

Source   Rajbhandari et al. 2020, arXiv:1910.02054 (ZeRO, stage 3); Zhao et al. 2023,
         arXiv:2304.11277 (FSDP)
"""

import os
import signal
import sys
import threading
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

_speaking = threading.Lock()


def process_index() -> int:
    """The number of this process; the first, and one that runs alone, is 0."""
    return int(os.environ.get("RANK", 0))


def process_count() -> int:
    """How many processes the launcher started."""
    return int(os.environ.get("WORLD_SIZE", 1))


def refuse_launched_alone() -> None:
    """Raise ValueError if `accelerate launch` was asked for several processes and started only this
    one, as it does where it finds no several GPUs, unless told --multi_gpu, which serves CPUs too.
    """
    told = os.environ.keys()
    if {"ACCELERATE_MIXED_PRECISION", "MASTER_PORT"} <= told and "RANK" not in told:
        raise ValueError(
            "accelerate launch was asked for several processes and started one: write "
            "accelerate launch --multi_gpu …, which serves CPUs too, or ask for one process"
        )


def fully_shard(model: nn.Module, device: torch.device) -> nn.Module:
    """Share a model out among the processes of this run, in place, by PyTorch's FSDP2.

    Of every parameter each of n processes keeps one n-th of the rows, of process 0's numbers, and
    the same of its gradient and its averages. The layers of each `nn.ModuleList` are gathered one
    at a time, just before they compute, and dropped after; what stands outside of such lists is
    gathered with the model as a whole.

    Args:
        model: any module whose layers are called, forward and backward, through the model.
        device: of this process.
    Returns: the same model. All its parameters are sharded tensors now; see `gathered`.
    """
    from torch.distributed import fsdp, init_device_mesh  # a second, which only such runs pay

    lists = [m for m in model.modules() if isinstance(m, nn.ModuleList)]
    layers = [layer for m in lists for layer in m if not isinstance(layer, nn.ModuleList)]
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for module in (*reversed(layers), model):  # the inner ones first
        if isinstance(module, fsdp.FSDPModule):
            continue  # it was trained before
        for t in (*module.parameters(), *module.buffers()):
            if not is_sharded(t):
                t.data = t.data.to(device).contiguous()  # FSDP2 takes no other layout
                dist.broadcast(t.data, src=0)
        fsdp.fully_shard(module, mesh=mesh, reshard_after_forward=True)
    return model


def is_sharded(t: Tensor) -> bool:
    return hasattr(t, "full_tensor")  # a DTensor, by what it can do: the class is slow to import


def gathered(t: Tensor) -> Tensor:
    """The whole of a sharded tensor; any other as it is. Every process must call this."""
    return t.full_tensor() if is_sharded(t) else t


def placed_as(t: Tensor, other: Tensor) -> Tensor:
    """A whole tensor on the device, in the layout and, if `other` is sharded, in the shards of
    another of its shape."""
    if is_sharded(other):
        from torch.distributed.tensor import distribute_tensor

        t = t.detach().to(other.device)
        t = distribute_tensor(t, other.device_mesh, other.placements, src_data_rank=None)
    return torch.empty_like(other).copy_(t)


@contextmanager
def noticing_lost_processes():
    """ConnectionError in the place of what the backend says when another process is gone."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "gloo/transport" in str(error):
            raise ConnectionError("another process of this run is gone") from error
        raise


def speak_for_all(message: str) -> None:
    """Print to stderr, unless another process of the run has done so: the first speaks for all."""
    with _speaking:
        if process_count() > 1:
            try:
                address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
                store = dist.TCPStore(*address, timeout=timedelta(seconds=5))
                if store.add("mini_models/spoken", 1) > 1:
                    return
            except RuntimeError:
                pass  # nobody left to ask: rather twice than never
        print(message, file=sys.stderr, flush=True)


def speak_for_all_when_ended(message) -> None:
    """From now on, if the launcher ends this process, speak message() first, and exit with 1.

    The launcher ends all that are left (SIGTERM) when one is lost. They may be deep in a backend,
    waiting for the one that is gone, where Python's handlers do not run; so a thread listens.
    """
    listen, tell = os.pipe()
    os.set_blocking(tell, False)  # as set_wakeup_fd demands

    def wait():
        while signal.SIGTERM not in os.read(listen, 1):
            pass  # another signal
        speak_for_all(message())
        os._exit(1)

    signal.set_wakeup_fd(tell)  # from here on each signal writes its number there
    signal.signal(signal.SIGTERM, lambda *_: None)
    threading.Thread(target=wait, daemon=True).start()
