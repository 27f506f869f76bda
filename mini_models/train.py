"""Train: fit any model to any batches; the same call serves a CPU, a GPU, and many of either.

A step takes a batch, measures the loss and follows its gradient. Everything that a step depends on
is in the checkpoint, so that a run which was killed and resumed ends with the same weights.

Several processes share every batch. The launcher decides whether each holds the whole model, or,
as `accelerate launch --use_fsdp` asks, a part of every parameter; the steps are the same.

Derived  notebooks/05_training.ipynb
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import find_batch_size, gather_object, parse_flag_from_env, recursively_apply
from torch import Tensor, nn

from mini_models.data.batches import IGNORED
from mini_models.machine import settings, weights
from mini_models.machine.devices import best_device, device_of, prefers_bf16
from mini_models.machine.evaluating import evaluating
from mini_models.machine.processes import fully_shard, gathered, noticing_lost_processes
from mini_models.optimizers import SCHEDULES, make_optimizers

CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True)
class TrainConfig:
    """How to train; see `train`."""

    steps: int = 500
    lr: float = 1e-3  # AdamW's, at its peak
    optimizer: str = "adamw"  # or "muon", for the matrices of linear layers; AdamW for the rest
    muon_lr: float = 0.02  # Muon's, at its peak
    schedule: str = "trapezoid"  # one of SCHEDULES
    warmup: int = 50  # steps from 0 to the peak
    decay: float = 0.5  # share of the steps in which the trapezoid falls to 0
    betas: tuple[float, float] = (0.9, 0.95)  # AdamW's averaging of gradients and their squares
    weight_decay: float = 0.1  # times the learning rate at each step; see make_optimizers
    clip: float = 1.0  # largest norm of the gradient; 0: no limit
    accumulate: int = 1  # slices of a batch that go through the model one after another
    precision: str = "auto"  # "fp32", "bf16", or "auto": bf16 where the hardware multiplies it
    seed: int = 0  # of dropout
    checkpoint_every: int = 100  # steps

    def __post_init__(self):
        settings.counts(self, "steps", "accumulate", "checkpoint_every")
        settings.counts(self, "warmup", "seed", least=0)
        settings.number(self, "lr", "muon_lr", "weight_decay", most=1e30)
        settings.number(self, "clip")
        settings.number(self, "decay", most=1)
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas are {self.betas}: give two shares from 0 to below 1")
        settings.one_of(self, optimizer=OPTIMIZERS, schedule=SCHEDULES, precision=PRECISIONS)


OPTIMIZERS, PRECISIONS = ("adamw", "muon"), ("auto", "fp32", "bf16")


def train(model, batches, loss_of, config, out=None, resume=False, on_step=None) -> list[float]:
    """Fit the model in place.

    Args:
        model: any module; it stays on its device. Under a launcher it moves to its process's and
            starts from the weights of process 0; where the launcher asks for sharding it ends
            sharded, see `weights.full_weights`.
        batches: `batches[step]` is the batch of a step, tensors in a tuple, list or dict, on any
            device. Each of several processes takes its share of the rows.
        loss_of: (model, batch) -> the scalar to make small, a mean over the rows.
        config: a `TrainConfig`.
        out: a directory for the checkpoint, or None for none.
        resume: continue from the checkpoint in `out`. It holds whole tensors, so processes may be
            more or fewer than before; only dropout, drawn by each, then draws other numbers.
        on_step: called after each step with its number, counted from 1, and its loss, a tensor
            (reading it waits for the device); training ends early when it returns True everywhere.
    Returns: the loss of every step so far, resumed ones included, in the unit of loss_of.
    Raises: ValueError if the loss is not finite (the last checkpoint is kept), if the rows cannot
        be shared evenly, or if there is nothing that fits to resume; ConnectionError if another
        process of the run is gone (the last checkpoint is kept).
    """
    run = _Run(model, loss_of, config, Path(out) if out else None)
    if resume:
        run.restore()
    was_training = model.training
    model.train()
    with noticing_lost_processes():
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
    device, total, count = device_of(model), 0, 0
    with evaluating(model):
        for batch in batches:
            batch = recursively_apply(lambda t: t.to(device), batch)
            targets = batch[-1]
            n = len(targets) if targets.is_floating_point() else int((targets != IGNORED).sum())
            if n:  # the mean over nothing is nan
                total, count = total + float(loss_of(model, batch)) * n, count + n
    if not count:
        raise ValueError("there is no target to measure on: give at least one batch")
    return total / count


class _Run:
    """One run: the model, its optimizers, the losses so far, and their checkpoint."""

    def __init__(self, model: nn.Module, loss_of, config: TrainConfig, out: Path | None):
        cpu = best_device().type != "cuda"  # several processes then talk through gloo
        self.accelerator = Accelerator(mixed_precision="no", device_placement=False, cpu=cpu)
        self.workers, self.rank = self.accelerator.num_processes, self.accelerator.process_index
        self.device = device_of(model) if self.workers == 1 else self.accelerator.device
        self.loss_of, self.config, self.path = loss_of, config, out and out / CHECKPOINT
        if self.workers > 1 and parse_flag_from_env("ACCELERATE_USE_FSDP"):
            # Accelerate would shard on GPUs alone; this way both take the same path
            self.model = self.wrapped = fully_shard(model, self.device)
        else:
            self.model = model.to(self.device)
            self.wrapped = self.accelerator.prepare_model(self.model)
        self.optimizers = make_optimizers(self.model, config)
        self.peaks = [group["lr"] for group in self.groups()]
        self.bf16 = {"fp32": False, "bf16": True}.get(config.precision, prefers_bf16(self.device))
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
        if self.config.clip:
            self.accelerator.clip_grad_norm_(self.wrapped.parameters(), self.config.clip)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        self.unread.append(loss := self.accelerator.reduce(total, "mean"))
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
                    "(lr, muon_lr), a longer warmup, precision='fp32' or, for a GAN, a cure"
                )
        self.losses += fresh

    def save(self) -> None:
        """Write all that the next step depends on."""
        self.read_losses()
        if self.path is None:
            return
        states = [torch.get_rng_state()]
        if self.device.type != "cpu":
            states.append(torch.get_device_module(self.device).get_rng_state())
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        for i, optimizer in enumerate(self.optimizers):
            tensors |= {
                f"optimizer.{i}.{k}": v for k, v in weights.optimizer_state(optimizer).items()
            }
        for name, value in tensors.items():
            whole = gathered(value.detach())  # by all processes; only one keeps it
            tensors[name] = whole.cpu() if self.rank == 0 else None
        for rank, state in enumerate(gather_object([states])):  # of every process
            tensors |= {f"rng.{rank}.{i}": s for i, s in enumerate(state)}
        tensors["losses"] = torch.tensor(self.losses)
        if self.rank == 0:
            weights.write_safetensors(self.path, tensors, {"config": asdict(self.config)})
        self.accelerator.wait_for_everyone()

    def restore(self) -> None:
        """Continue from the checkpoint; raises ValueError if it does not fit."""
        if self.path is None:
            raise ValueError("there is no directory to resume from: give out=")
        tensors, about = weights.read_safetensors(self.path)
        _check_config(about["config"], self.config, self.path)
        weights.load_weights(self.model, _under("model.", tensors), self.path)
        for i, optimizer in enumerate(self.optimizers):
            weights.load_optimizer_state(optimizer, _under(f"optimizer.{i}.", tensors))
        states = _under(f"rng.{self.rank}.", tensors)
        if "0" in states:  # a process more than before has none
            torch.set_rng_state(states["0"])
        if "1" in states and self.device.type != "cpu":
            torch.get_device_module(self.device).set_rng_state(states["1"])
        self.losses = tensors["losses"].tolist()


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
