"""Weights: tensors in a file, and out of it into a model and its optimizer.

A file is safetensors: it holds numbers and nothing that could run. It holds whole tensors, also
where a model is shared out among processes.
"""

import contextlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from mini_models.machine.files import write_whole
from mini_models.machine.processes import gathered, placed_as


def write_safetensors(path: Path, tensors: dict[str, Tensor], about: dict) -> None:
    """Tensors and a few facts (JSON) in one file, which is there whole or not at all."""
    tensors = {k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()}
    write_whole(path, save(tensors, {k: json.dumps(v) for k, v in about.items()}))


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict]:
    """What `write_safetensors` wrote. Raises ValueError if the file is missing or damaged."""
    with _opened(path) as file:
        tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    return tensors, read_about(path)


def read_about(path: Path) -> dict:
    """The facts alone of what `write_safetensors` wrote; raises as `read_safetensors`."""
    with _opened(path) as file:
        return {k: json.loads(v) for k, v in (file.metadata() or {}).items()}


@contextlib.contextmanager
def _opened(path: Path):
    if not path.is_file():
        raise ValueError(f"there is no {path.name} in {path.parent}: nothing to load")
    try:
        with safe_open(path, "pt") as file:
            yield file
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
    model.load_state_dict({k: placed_as(t, ours[k]) for k, t in tensors.items()})


def full_weights(model: nn.Module) -> dict[str, Tensor]:
    """The state dict, whole and on the CPU, of a model that may be sharded.

    Every process must call this.
    """
    return {k: gathered(t.detach()).cpu() for k, t in model.state_dict().items()}


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What an optimizer remembers, under "parameter's number.name"; sharded as the parameter is."""
    state = optimizer.state_dict()["state"]
    return {f"{i}.{name}": value for i, own in state.items() for name, value in own.items()}


def load_optimizer_state(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """The opposite of `optimizer_state`, from whole tensors."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state = {}
    for key, value in tensors.items():
        number, name = key.split(".")
        p = parameters[int(number)]
        if value.shape == p.shape:  # an average; the number of steps has no shape
            value = placed_as(value, p)
        state.setdefault(int(number), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
