"""Train: fit any model to any batches; the same call serves a CPU, a GPU, and many of either.

A step takes a batch, measures the loss and follows its gradient. Everything that a step depends on
is in the checkpoint, so that a run which was killed and resumed ends with the same weights.

Source   Loshchilov and Hutter 2019, arXiv:1711.05101 (AdamW); Jordan et al. 2024 and Liu et al.
         2025, arXiv:2502.16982 (Muon)
Derived  notebooks/05_training.ipynb
"""

import json
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import find_batch_size, gather_object, recursively_apply
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True)
class TrainConfig:
    """How to train; see `train`."""

    steps: int = 500
    lr: float = 1e-3  # AdamW's, at its peak
    optimizer: str = (
        "adamw"  # or "muon": Muon for the matrices of linear layers, AdamW for the rest
    )
    muon_lr: float = 0.02  # Muon's, at its peak
    schedule: str = "trapezoid"  # one of SCHEDULES
    warmup: int = 50  # steps from 0 to the peak
    decay: float = 0.5  # share of the steps in which the trapezoid falls to 0
    betas: tuple[float, float] = (0.9, 0.95)  # AdamW's averaging of gradients and their squares
    weight_decay: float = 0.1  # times the learning rate at each step; see make_optimizers
    clip: float = 1.0  # largest norm of the gradient
    accumulate: int = 1  # slices of a batch that go through the model one after another
    precision: str = "auto"  # "fp32", "bf16", or "auto": bf16 where the hardware multiplies it
    seed: int = 0  # of dropout
    checkpoint_every: int = 100  # steps

    def __post_init__(self):
        for name in ("steps", "accumulate", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be at least 1")
        choices = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES, "precision": PRECISIONS}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} {getattr(self, name)!r} is unknown: choose one of {', '.join(known)}"
                )


def constant(step: int, config: TrainConfig) -> float:
    """Linear warm-up, then the peak for ever; like all schedules, a factor of the peak rate."""
    return min(1.0, (step + 1) / (config.warmup + 1))


def cosine(step: int, config: TrainConfig) -> float:
    """Warm-up, then half a cosine to a tenth of the peak (Brown et al. 2020, appendix B)."""
    done = max(0, step - config.warmup) / max(1, config.steps - config.warmup)
    return constant(step, config) * (0.55 + 0.45 * math.cos(math.pi * min(1.0, done)))


def trapezoid(step: int, config: TrainConfig) -> float:
    """Warm-up, flat, then a straight line to 0 over the last `decay` of the steps."""
    left = (config.steps - step) / max(1.0, config.decay * config.steps)
    return min(constant(step, config), left)


SCHEDULES = {"constant": constant, "cosine": cosine, "trapezoid": trapezoid}
OPTIMIZERS, PRECISIONS = ("adamw", "muon"), ("auto", "fp32", "bf16")


def train(model, batches, loss_of, config, out=None, resume=False, on_step=None) -> list[float]:
    """Fit the model in place.

    Args:
        model: any module; it stays on its device, and under `accelerate launch` moves to its
            process's.
        batches: `batches[step]` is the batch of a step, tensors in a tuple, list or dict, on any
            device. Each of several processes takes its share of the rows.
        loss_of: (model, batch) -> the scalar to make small, a mean over the rows.
        config: a `TrainConfig`.
        out: a directory for the checkpoint, or None for none.
        resume: continue from the checkpoint in `out`.
        on_step: called after each step with its number, counted from 1, and its loss, a tensor
            (reading it waits for the device); training ends early when it returns True.
    Returns: the loss of every step so far, resumed ones included, in the unit of loss_of.
    Raises: ValueError if the loss is not finite (the last checkpoint is kept), if the rows cannot
        be shared evenly, or if there is nothing that fits to resume.
    """
    run = _Run(model, loss_of, config, Path(out) if out else None)
    if resume:
        run.restore()
    was_training = model.training
    model.train()
    for step in range(len(run.losses), config.steps):
        loss = run.step(step, batches[step])
        stop = on_step is not None and on_step(step + 1, loss)
        if stop or step + 1 == config.steps or (step + 1) % config.checkpoint_every == 0:
            run.save()
        if stop:
            break
    model.train(was_training)
    return run.losses


@torch.no_grad()
def evaluate(model: nn.Module, batches, loss_of) -> float:
    """The mean of loss_of over batches of (inputs, targets), without dropout, in the model's mode.

    Every integer target that is not -100 counts the same; where targets are not integers, every
    row does. Raises ValueError if there is nothing to count.
    """
    was_training, device = model.training, device_of(model)
    model.eval()
    total = count = 0
    for batch in batches:
        batch = recursively_apply(lambda t: t.to(device), batch)
        targets = batch[-1]
        n = len(targets) if targets.is_floating_point() else int((targets != -100).sum())
        total, count = total + float(loss_of(model, batch)) * n, count + n
    model.train(was_training)
    if not count:
        raise ValueError("there is no target to measure on: give at least one batch")
    return total / count


class _Run:
    """One run: the model, its optimizers, the losses so far, and their checkpoint."""

    def __init__(self, model: nn.Module, loss_of, config: TrainConfig, out: Path | None):
        cpu = not torch.cuda.is_available()  # several processes then talk through gloo
        self.accelerator = Accelerator(mixed_precision="no", device_placement=False, cpu=cpu)
        self.workers, self.rank = self.accelerator.num_processes, self.accelerator.process_index
        self.device = device_of(model) if self.workers == 1 else self.accelerator.device
        self.model, self.loss_of, self.config = model.to(self.device), loss_of, config
        self.path = out / CHECKPOINT if out else None
        optimizers = make_optimizers(model, config)
        self.wrapped, *self.optimizers = self.accelerator.prepare(model, *optimizers)
        self.peaks = [group["lr"] for group in self.groups()]
        auto = config.precision == "auto" and prefers_bf16(self.device)
        self.bf16 = auto or config.precision == "bf16"
        self.losses, self.unread = [], []  # numbers; tensors that may still be computed
        torch.manual_seed(config.seed + self.rank)

    def groups(self) -> list[dict]:
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    def step(self, step: int, batch) -> Tensor:
        """One step of all optimizers; returns the loss before it."""
        factor = SCHEDULES[self.config.schedule](step, self.config)
        for group, peak in zip(self.groups(), self.peaks):
            group["lr"] = peak * factor
        total = torch.zeros((), device=self.device)
        for share in self.shares(batch):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                loss = self.loss_of(self.wrapped, share) / self.config.accumulate
            self.accelerator.backward(loss)
            total += loss.detach()
        self.accelerator.clip_grad_norm_(self.wrapped.parameters(), self.config.clip)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        self.unread.append(self.accelerator.reduce(total, "mean"))
        loss = self.unread[-1]
        if len(self.unread) == 10:
            self.read_losses()
        return loss

    def shares(self, batch):
        """This process's rows of the batch, in `accumulate` slices, on its device."""
        rows, parts = find_batch_size(batch), self.config.accumulate * self.workers
        if rows % parts:
            raise ValueError(
                f"a batch of {rows} rows cannot be shared evenly by {self.workers} processes in "
                f"{self.config.accumulate} slices each: make it a multiple of {parts}"
            )
        for i in range(self.rank, parts, self.workers):
            mine = slice(i * rows // parts, (i + 1) * rows // parts)
            yield recursively_apply(lambda t, mine=mine: t[mine].to(self.device), batch)

    def read_losses(self) -> None:
        """Wait for the losses of the latest steps; refuse one that is not finite."""
        first = len(self.losses) + 1
        fresh = torch.stack(self.unread).float().tolist() if self.unread else []
        self.unread = []
        for step, loss in enumerate(fresh, first):
            if not math.isfinite(loss):
                raise ValueError(
                    f"the loss of step {step} is {loss}: try a lower learning rate "
                    "(lr, muon_lr), a longer warmup or precision='fp32'"
                )
        self.losses += fresh

    def save(self) -> None:
        """Write all that the next step depends on."""
        self.read_losses()
        states = [torch.get_rng_state()]
        if self.device.type != "cpu":
            states.append(torch.get_device_module(self.device).get_rng_state())
        states = gather_object([states])  # of every process
        if self.path and self.accelerator.is_main_process:
            tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
            for i, optimizer in enumerate(self.optimizers):
                for parameter, values in optimizer.state_dict()["state"].items():
                    for name, value in values.items():
                        tensors[f"optimizer.{i}.{parameter}.{name}"] = value
            for rank, state in enumerate(states):
                tensors |= {f"rng.{rank}.{i}": s for i, s in enumerate(state)}
            tensors["losses"] = torch.tensor(self.losses)
            write_safetensors(self.path, tensors, {"config": asdict(self.config)})
        self.accelerator.wait_for_everyone()

    def restore(self) -> None:
        """Continue from the checkpoint; raises ValueError if it does not fit."""
        if self.path is None:
            raise ValueError("there is no directory to resume from: give out=")
        tensors, about = read_safetensors(self.path)
        _check_config(about["config"], self.config, self.path)
        load_weights(self.model, _under("model.", tensors), self.path)
        for i, optimizer in enumerate(self.optimizers):
            state = {}
            for key, value in _under(f"optimizer.{i}.", tensors).items():
                parameter, name = key.split(".")
                state.setdefault(int(parameter), {})[name] = value
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": state, "param_groups": groups})
            for p, values in optimizer.state.items():  # fused AdamW wants p's own layout
                same = {k: v for k, v in values.items() if v.shape == p.shape}
                values |= {k: torch.empty_like(p).copy_(v) for k, v in same.items()}
        states = _under(f"rng.{self.rank}.", tensors)
        if "0" in states:  # a process more than before has none
            torch.set_rng_state(states["0"])
        if "1" in states and self.device.type != "cpu":
            torch.get_device_module(self.device).set_rng_state(states["1"])
        self.losses = tensors["losses"].tolist()


def make_optimizers(model: nn.Module, config: TrainConfig) -> list[torch.optim.Optimizer]:
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
                average = self.state[p].setdefault("momentum_buffer", torch.zeros_like(p))
                average.lerp_(p.grad, 1 - momentum)
                ahead = p.grad.lerp(average, momentum)  # Nesterov: one more step of averaging
                p.mul_(1 - lr * group["weight_decay"])
                size = math.sqrt(max(1.0, p.shape[0] / p.shape[1]))
                p.add_(orthogonalise(ahead, dtype=self.dtype), alpha=-lr * size)


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


def write_safetensors(path: Path, tensors: dict[str, Tensor], about: dict) -> None:
    """Tensors and a few facts (JSON) in one file: under a temporary name, then renamed."""
    tensors = {k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(save(tensors, {k: json.dumps(v) for k, v in about.items()}))
    os.replace(part, path)


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict]:
    """What `write_safetensors` wrote. Raises ValueError if the file is missing or damaged."""
    if not path.is_file():
        raise ValueError(f"there is no {path.name} in {path.parent}: nothing to load")
    try:
        with safe_open(path, "pt") as file:
            about = {k: json.loads(v) for k, v in (file.metadata() or {}).items()}
            return {k: file.get_tensor(k) for k in file.keys()}, about  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or cut short ({error}): make it again") from None


def load_weights(model: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Copy tensors into the model. Raises ValueError if their names or shapes are another's."""
    ours = model.state_dict()
    for name in sorted(ours.keys() | tensors.keys()):
        mine, found = (list(t[name].shape) if name in t else "none" for t in (ours, tensors))
        if mine != found:
            raise ValueError(
                f"{path} is for another model: its {name} has shape {found}, this one's {mine}"
            )
    model.load_state_dict(tensors)


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


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _check_config(saved: dict, config: TrainConfig, path: Path) -> None:
    """Raise ValueError if another run is being resumed; only its length may change."""
    now = json.loads(json.dumps(asdict(config)))
    for name in now.keys() - {"steps", "checkpoint_every"}:
        if saved.get(name) != now[name]:
            raise ValueError(
                f"{path} was trained with {name}={saved.get(name)}, not {now[name]}: "
                "resume with the same settings, or train anew in another directory"
            )
