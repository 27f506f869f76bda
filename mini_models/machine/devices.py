"""Devices: where the numbers are, and what that place is good at."""

import torch
from torch import nn


def device_of(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def best_device() -> torch.device:
    """The GPU if there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def prefers_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 matrices in hardware, and so faster than float32.

    That is NVIDIA's GPUs since 2020 (compute capability 8), and CPUs with AVX512-BF16 or AMX.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu" and hasattr(torch.cpu, "get_capabilities"):
        can = torch.cpu.get_capabilities()
        return bool(can.get("avx512_bf16") or can.get("amx_bf16"))
    return False


def on_device(generator: torch.Generator | None, device) -> torch.Generator | None:
    """The same generator, or one on the device that a draw of it seeds: kernels take no other."""
    if generator is None or generator.device.type == torch.device(device).type:
        return generator
    seed = torch.randint(2**62, (), generator=generator, device=generator.device)
    return torch.Generator(device).manual_seed(int(seed))
