"""Optimizers: how a parameter moves, given its gradient, and how far at which step.

Where a function takes `config`, that is a `train.TrainConfig`.

Source   Loshchilov and Hutter 2019, arXiv:1711.05101 (AdamW); Jordan et al. 2024 and Liu et al.
         2025, arXiv:2502.16982 (Muon)
Derived  notebooks/05_training.ipynb
"""

import math

import torch
from torch import Tensor, nn

from mini_models.machine.devices import device_of, prefers_bf16
from mini_models.machine.processes import gathered, placed_as


def constant(step: int, config) -> float:
    """Linear warm-up, then the peak for ever; like all schedules, a factor of the peak rate."""
    return min(1.0, (step + 1) / (config.warmup + 1))


def cosine(step: int, config) -> float:
    """Warm-up, then half a cosine to a tenth of the peak (Brown et al. 2020, appendix B)."""
    done = max(0, step - config.warmup) / max(1, config.steps - config.warmup)
    return constant(step, config) * (0.55 + 0.45 * math.cos(math.pi * min(1.0, done)))


def trapezoid(step: int, config) -> float:
    """Warm-up, flat, then a straight line to 0 over the last `decay` of the steps."""
    left = (config.steps - step) / max(1.0, config.decay * config.steps)
    return min(constant(step, config), left)


SCHEDULES = {"constant": constant, "cosine": cosine, "trapezoid": trapezoid}


def make_optimizers(model: nn.Module, config) -> list[torch.optim.Optimizer]:
    """AdamW for all; or Muon for the matrices of linear layers and AdamW for the rest.

    The weights of linear and convolution layers decay; embeddings, biases and norms do not.
    """
    layers = (nn.Linear, nn.modules.conv._ConvNd)
    weights = {id(m.weight) for m in model.modules() if isinstance(m, layers)}
    groups = {"muon": [], "decays": [], "rest": []}
    for p in model.parameters():
        matrix = config.optimizer == "muon" and p.ndim == 2
        groups["rest" if id(p) not in weights else "muon" if matrix else "decays"].append(p)
    adamw = [
        {"params": groups["decays"], "weight_decay": config.weight_decay},
        {"params": groups["rest"], "weight_decay": 0.0},
    ]
    fused = device_of(model).type in ("cpu", "cuda")
    optimizers = [torch.optim.AdamW(adamw, config.lr, config.betas, fused=fused)]
    if groups["muon"]:
        optimizers.append(Muon(groups["muon"], config.muon_lr, config.weight_decay))
    return optimizers


class Muon(torch.optim.Optimizer):
    """Momentum whose every step is made orthogonal, for matrices [R, C] only.

    The steps of `torch.optim.Muon`; but that one multiplies in bfloat16 everywhere, which
    hardware without it does many times slower than float32, and older versions of torch lack it.
    No row of such a step can be known without the others: of a matrix that is shared out among
    processes each gathers the whole, makes it orthogonal, and keeps its own rows.
    """

    def __init__(self, params, lr=0.02, weight_decay=0.1, momentum=0.95, dtype=None):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self.dtype = dtype  # to multiply in; None: bfloat16 where the hardware has it

    @torch.no_grad()
    def step(self, closure=None) -> None:
        for group in self.param_groups:
            lr, momentum = group["lr"], group["momentum"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                if not self.state[p]:
                    self.state[p]["momentum_buffer"] = torch.zeros_like(p)
                average = self.state[p]["momentum_buffer"]
                average.lerp_(p.grad, 1 - momentum)
                ahead = p.grad.lerp(average, momentum)  # Nesterov: one more step of averaging
                p.mul_(1 - lr * group["weight_decay"])
                size = math.sqrt(max(1.0, p.shape[0] / p.shape[1]))
                level = orthogonalise(gathered(ahead), dtype=self.dtype)
                p.add_(placed_as(level, p), alpha=-lr * size)


def orthogonalise(m: Tensor, steps: int = 5, dtype: torch.dtype | None = None) -> Tensor:
    """A matrix with the singular vectors of m [R, C] and singular values between 0.7 and 1.2.

    Newton-Schulz: each step applies 3.4445 s - 4.7750 s³ + 2.0315 s⁵ to every singular value
    (Jordan et al. 2024), by matrix products alone. Small values need more steps.
    """
    x = m.to(dtype or (torch.bfloat16 if prefers_bf16(m.device) else torch.float32))
    x = x.T if m.shape[0] > m.shape[1] else x
    x = x / x.norm().clamp(min=1e-7)  # now no singular value is above 1
    for _ in range(steps):
        square = x @ x.T
        poly = torch.addmm(square, square, square, beta=-4.7750, alpha=2.0315)
        x = torch.addmm(x, poly, x, beta=3.4445)
    return x.T if m.shape[0] > m.shape[1] else x
