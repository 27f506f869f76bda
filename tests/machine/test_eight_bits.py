"""Tests of mini_models.machine.eight_bits: what is stored is what was, to half a step."""

import pytest
import torch
from torch.testing import assert_close

from mini_models.machine.eight_bits import packed, unpacked


def matrix(rows: int = 64, columns: int = 96) -> torch.Tensor:
    """A matrix whose rows differ in size by a factor of ten thousand."""
    torch.manual_seed(0)
    return torch.randn(rows, columns) * torch.logspace(-5, -1, rows)[:, None]


def state(x: torch.Tensor) -> dict:
    return {"weight": x, "bias": torch.linspace(-1, 1, 7), "seen": torch.tensor(12)}


# agrees with an independent implementation


def test_steps_are_those_of_a_loop_in_float64_over_rows():
    x = matrix()
    tensors = packed({"weight": x})
    for row, steps, scale in zip(x.double(), tensors["weight"], tensors["weight.scale"]):
        assert float(scale) == pytest.approx(float(row.abs().max()) / 127, rel=2**-8)
        expected = [max(-127, min(127, round(float(v) / float(scale)))) for v in row]
        assert steps.tolist() == expected


def test_what_comes_back_is_what_torchs_simulated_quantiser_gives():
    torch.manual_seed(3)
    steps = 0.5 ** torch.arange(64)  # powers of two: torch multiplies by 1 / step, we divide by it
    x = torch.cat([torch.full((64, 1), 127.0), 100 * torch.rand(64, 95) - 50], 1) * steps[:, None]
    tensors = packed({"weight": x})
    scale = tensors["weight.scale"].float()
    assert torch.equal(scale, steps)
    zeros = torch.zeros(len(x), dtype=torch.int32)
    theirs = torch.fake_quantize_per_channel_affine(x, scale, zeros, 0, -127, 127)
    assert_close(unpacked(tensors)["weight"], theirs, rtol=0, atol=0)


# property


@pytest.mark.parametrize("shape", [(64, 96), (8, 16, 5, 7), (1, 4_096), (4_096, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_no_number_is_wrong_by_more_than_half_a_step_of_its_row(shape, dtype):
    torch.manual_seed(1)
    x = torch.randn(shape).to(dtype)
    back = unpacked(packed({"weight": x}))["weight"]
    assert back.shape == x.shape and back.dtype == torch.float32
    error = (back - x).abs().flatten(1).amax(1)
    assert (error <= x.abs().flatten(1).amax(1) / 253).all()


def test_what_was_unpacked_packs_to_the_same_bits():
    torch.manual_seed(2)
    once = packed(state(torch.randn(20_000, 5) * torch.logspace(-30, 30, 20_000)[:, None]))
    twice = packed(unpacked(once))
    assert list(once) == list(twice)
    assert all(torch.equal(once[k], twice[k]) for k in once)


def test_vectors_small_matrices_and_whole_numbers_are_not_put_in_8_bits():
    given = {
        "vector": torch.randn(5_000),
        "small": torch.randn(63, 65),  # one number short of 4,096
        "count": torch.arange(5_000).view(50, 100),
    }
    tensors = packed(given)
    assert {k: v.dtype for k, v in tensors.items()} == {
        "vector": torch.float16, "small": torch.float16, "count": torch.int64
    }  # fmt: skip
    back = unpacked(tensors)
    assert torch.equal(back["count"], given["count"])
    assert torch.equal(back["vector"], given["vector"].half().float())


def test_half_precision_as_older_files_hold_it_is_widened_and_no_more():
    old = {k: v.half() if v.is_floating_point() else v for k, v in state(matrix()).items()}
    back = unpacked(old)
    assert back["weight"].dtype == torch.float32 and back["seen"] == 12
    assert all(torch.equal(back[k], old[k].to(back[k].dtype)) for k in old)


def test_a_parameter_that_is_called_scale_is_kept():
    given = {"norm.scale": torch.tensor([0.5, 2.0]), "weight": matrix()}
    back = unpacked(packed(given))
    assert set(back) == set(given) and back["norm.scale"].tolist() == [0.5, 2.0]


def test_rows_of_zeros_and_of_the_smallest_numbers_stay_finite():
    x = torch.zeros(64, 64)
    x[1], x[2] = 1e-12, 1e-44
    tensors = packed({"weight": x})
    assert (tensors["weight.scale"] > 0).all()  # 0 / 0 has no int8 that all machines agree on
    back = unpacked(tensors)["weight"]
    assert back[0].eq(0).all() and back[2].abs().max() < 1e-38
    assert_close(back[1], x[1], rtol=1 / 253, atol=0)


def test_a_matrix_takes_a_quarter_of_its_room_in_float32():
    x = torch.randn(256, 1_024)
    stored = sum(t.numel() * t.element_size() for t in packed({"weight": x}).values())
    assert stored == x.numel() + 2 * 256


# refuses


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf, -torch.inf])
def test_numbers_that_are_not_finite_are_refused(wrong):
    x = matrix()
    x[3, 5] = x[9, 0] = wrong
    with pytest.raises(ValueError, match="2 of the 6,144 numbers of head.weight are not finite"):
        packed({"head.weight": x})


def test_what_is_packed_is_not_packed_again():
    with pytest.raises(ValueError, match="weight is in 8 bits already: give the state of a model"):
        packed(packed({"weight": matrix()}))


def test_a_matrix_without_its_scale_or_with_anothers_is_refused():
    tensors = packed({"weight": matrix()})
    short = {**tensors, "weight.scale": tensors["weight.scale"][:-1]}
    with pytest.raises(ValueError, match=r"shape \[64, 96\] and a scale of shape \[63\]: one numb"):
        unpacked(short)
    with pytest.raises(ValueError, match=r"weight, in 8 bits, has shape \[64, 96\] and no scale"):
        unpacked({"weight": tensors["weight"]})


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), 1e6])
def test_a_vector_that_half_precision_cannot_hold_is_refused(wrong):
    bias = torch.zeros(8)
    bias[3] = wrong
    with pytest.raises(ValueError, match="1 of the 8 numbers of bias are not finite"):
        packed({"bias": bias})
