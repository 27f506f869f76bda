"""Tests of mini_models.dvae: torch's distributions, sums over all grids, a run of seconds."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Categorical, Normal, kl_divergence
from torch.testing import assert_close

from mini_models import dvae
from mini_models.data.shapes import captioned
from mini_models.data.shapes.batches import ShapesBatches
from mini_models.dvae import (
    DVAE,
    DVAEConfig,
    annealed,
    best_sigma,
    dvae_loss,
    gumbel_softmax,
    k_means,
    kl_to_uniform,
    make_decoder,
    make_encoder,
    perplexity,
    reconstruction_nats,
)
from mini_models.recipes.dvae import WithStep
from mini_models.recipes.judges import codebook_use
from mini_models.train import TrainConfig, train

TINY = DVAEConfig(codes=7, grid=2, image_size=8, channels=2, width=6, n_layers=1)


def tiny(seed=0, config=TINY) -> DVAE:
    torch.manual_seed(seed)
    return DVAE(config)


def some_logits(seed=0, shape=(3, 7, 2, 2)):
    return 2 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def some_images(n=3, seed=0, config=TINY):
    shape = (n, config.channels, config.image_size, config.image_size)
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


# agrees with an independent implementation


@pytest.mark.parametrize("temperature", [2.0, 0.5, 1 / 16])
def test_relaxed_draws_have_the_moments_of_those_of_torch(temperature):
    logits = some_logits(shape=(1, 5, 1, 1)).expand(40_000, -1, -1, -1)
    torch.manual_seed(0)
    ours = gumbel_softmax(logits, temperature)
    theirs = F.gumbel_softmax(logits, temperature, dim=1)
    for power in (1, 2):
        assert_close((ours**power).mean(0), (theirs**power).mean(0), atol=0.01, rtol=0)
    assert_close(ours.sum(dim=1), torch.ones(40_000, 1, 1))


def test_the_largest_share_is_that_of_a_word_drawn_from_the_softmax():
    logits = some_logits(shape=(1, 5, 1, 1)).expand(50_000, -1, -1, -1)
    torch.manual_seed(1)
    counts = torch.bincount(gumbel_softmax(logits, 0.7).argmax(dim=1).flatten(), minlength=5)
    expected = 50_000 * logits[0, :, 0, 0].softmax(dim=0)
    chi_square = ((counts - expected).square() / expected).sum()
    assert chi_square < 18.5  # 1 in 1,000 for four degrees of freedom


def test_the_divergence_is_that_of_torch_summed_over_cells():
    logits = some_logits()
    q = Categorical(logits=logits.permute(0, 2, 3, 1))
    uniform = Categorical(logits=torch.zeros(7))
    assert_close(kl_to_uniform(logits), kl_divergence(q, uniform).sum(dim=(1, 2)))


def test_the_divergence_is_that_of_whole_grids_summed_one_by_one():
    logits = some_logits(shape=(1, 3, 2, 2)).double()
    q = logits.softmax(dim=1).flatten(2)[0]  # [words, cells]
    total = 0.0
    for words in itertools.product(range(3), repeat=4):
        probability = math.prod(float(q[w, cell]) for cell, w in enumerate(words))
        total += probability * math.log(probability * 3**4)
    assert kl_to_uniform(logits).item() == pytest.approx(total)


@pytest.mark.parametrize("sigma", [1 / 16, 1.5])
def test_a_picture_is_as_probable_as_a_normal_distribution_says(sigma):
    painted, images = some_images(seed=1), some_images(seed=2)
    expected = -Normal(painted, sigma).log_prob(images).sum(dim=(1, 2, 3))
    assert_close(reconstruction_nats(painted, images, sigma), expected)


def test_no_other_standard_deviation_makes_the_pictures_more_probable():
    painted, images = some_images(seed=1), some_images(seed=2)
    best = best_sigma(painted, images, 0.01)
    nats = {s: reconstruction_nats(painted, images, s * best).mean() for s in (0.97, 1, 1.03)}
    assert min(nats, key=nats.get) == 1
    assert best_sigma(images, images, 0.01) == 0.01


def test_what_is_painted_of_a_mixture_is_what_is_decoded_where_it_is_one_word():
    model, ids = tiny(), torch.randint(7, (4, 2, 2), generator=torch.Generator().manual_seed(0))
    one_hot = F.one_hot(ids, 7).permute(0, 3, 1, 2).float()
    assert_close(model.paint(one_hot).clamp(0, 1).detach(), model.decode(ids))


def test_the_loss_is_the_bound_put_together_by_hand():
    model, images = tiny(), some_images()
    steps = torch.full((3,), 6.0)
    torch.manual_seed(5)
    found = dvae_loss(model, (images, steps))
    torch.manual_seed(5)
    temperature = annealed(1, 1 / 16, 6 / TINY.temperature_steps)
    y = gumbel_softmax(model.choose(model.encoder(images)), temperature)
    vectors = torch.stack([model.codebook.weight.T @ y[:, :, i, j].unsqueeze(2)
                           for i in range(2) for j in range(2)], 2)[..., 0]  # fmt: skip
    painted = model.decoder(vectors.view(3, 32, 2, 2))
    q = Categorical(logits=model.logits(images).permute(0, 2, 3, 1))
    kl = (math.log(7) - q.entropy()).sum(dim=(1, 2))
    beta = 1.65 * (1 - math.cos(math.pi * 6 / 10)) / 2
    sigma = F.mse_loss(painted, images).sqrt().item()
    nats = -Normal(painted, sigma).log_prob(images).sum(dim=(1, 2, 3)) + beta * kl
    assert_close(found, nats.mean() / (2 * 8 * 8))


def test_the_gradient_through_a_relaxed_draw_is_its_finite_difference():
    logits = some_logits(shape=(1, 3, 1, 2)).double().requires_grad_()

    def fixed(x):
        torch.manual_seed(3)
        return gumbel_softmax(x, 0.5)

    assert torch.autograd.gradcheck(fixed, (logits,))


# properties


def test_pictures_become_grids_of_words_and_pictures_of_the_same_size():
    for config in (TINY, DVAEConfig(width=8, codes=20, grid=4), DVAEConfig(width=8, grid=16)):
        model, images = tiny(config=config), some_images(2, config=config)
        ids = model.encode(images)
        assert ids.shape == (2, config.grid, config.grid) and ids.dtype == torch.int64
        assert ids.min() >= 0 and ids.max() < config.codes
        painted = model.decode(ids)
        assert painted.shape == images.shape and painted.min() >= 0 and painted.max() <= 1


def test_colder_draws_are_nearer_to_one_word():
    logits, sharpness = some_logits(shape=(500, 7, 2, 2)), []
    for temperature in (4.0, 1.0, 1 / 4, 1 / 16):
        torch.manual_seed(0)
        sharpness.append(gumbel_softmax(logits, temperature).amax(dim=1).mean().item())
    assert sharpness == sorted(sharpness) and sharpness[0] < 0.6 and sharpness[-1] > 0.95


def test_extreme_logits_and_noise_stay_finite(monkeypatch):
    monkeypatch.setattr(torch, "rand_like", torch.zeros_like)  # the least that can be drawn
    for size in (0.0, 1e4, -1e4):
        logits = torch.full((1, 4, 1, 1), size)
        logits[:, 0] += 1
        assert gumbel_softmax(logits, 1 / 16).isfinite().all()


def test_the_divergence_is_zero_for_a_uniform_answer_and_at_most_the_logarithm_of_the_words():
    assert_close(kl_to_uniform(torch.zeros(2, 7, 2, 2)), torch.zeros(2))
    sure = torch.zeros(1, 7, 2, 2)
    sure[:, 3] = 100
    assert kl_to_uniform(sure).item() == pytest.approx(4 * math.log(7), rel=1e-5)


@pytest.mark.parametrize(
    "ids, expected",
    [
        (torch.arange(12).view(1, 3, 4), 12),
        (torch.full((2, 4, 4), 3), 1),
        (torch.tensor([[[0, 1], [0, 1]]]), 2),
        (torch.tensor([[[0, 0, 0, 1]]]), 4 / 3**0.75),  # exp of 0.75 ln(4/3) + 0.25 ln 4
    ],
)
def test_perplexity_is_as_many_words_as_would_be_as_varied(ids, expected):
    assert perplexity(ids, 12) == pytest.approx(expected)


def test_schedules_begin_at_the_start_pass_the_middle_and_stay_at_the_end():
    assert annealed(1.0, 0.25, 0) == 1 and annealed(1.0, 0.25, 0.5) == pytest.approx(0.625)
    assert annealed(1.0, 0.25, 1) == annealed(1.0, 0.25, 7) == 0.25


def test_temperature_and_weight_depend_on_the_step():
    model, images = tiny(), some_images()
    losses = []
    for step in (0, 200):
        torch.manual_seed(0)
        losses.append(dvae_loss(model, (images, torch.full((3,), float(step)))).item())
    torch.manual_seed(0)
    painted, _ = model.relaxed(images, 1.0)
    sigma = F.mse_loss(painted, images).sqrt().item()
    first = reconstruction_nats(painted, images, sigma).mean() / 128
    assert losses[0] == pytest.approx(first.item()) and losses[1] != losses[0]


def test_a_cell_of_the_picture_reaches_the_words_of_its_neighbourhood_and_no_others():
    config = DVAEConfig(codes=5, grid=8, image_size=16, channels=1, width=4, n_layers=1)
    model, images = tiny(config=config), some_images(1, config=config).requires_grad_()
    model.logits(images)[0, :, 4, 4].sum().backward()
    rows = images.grad[0, 0].abs().amax(dim=1).nonzero().flatten()
    assert rows.min() >= 2 * (4 - 2) and rows.max() < 2 * (4 + 3)  # two convolutions of three


def test_a_picture_cut_and_put_together_by_fresh_networks_is_the_picture_itself():
    x = some_images()
    cells = make_encoder(TINY)(x)
    assert cells.shape == (3, TINY.cell, 2, 2) and TINY.cell == 2 * 4 * 4
    assert_close(make_decoder(TINY)(cells), x, rtol=0, atol=0)
    assert_close(cells[0, :, 0, 1], x[0, :, :4, 4:].flatten())


def test_it_begins_as_the_exact_posterior_of_a_mixture_of_normal_distributions():
    model, images = tiny(), some_images(40)
    model.begin(images)
    cells = make_encoder(TINY)(images).permute(0, 2, 3, 1)  # [N, g, g, n]
    normal = Normal(model.codebook.weight, dvae.FIRST_SIGMA)
    joint = normal.log_prob(cells[..., None, :]).sum(dim=-1)  # [N, g, g, V]
    expected = joint.softmax(dim=-1).movedim(-1, 1)
    assert_close(model.logits(images).softmax(dim=1), expected, atol=1e-4, rtol=0)
    assert model.begin(images) is None  # and again, the same
    assert_close(model.logits(images).softmax(dim=1), expected, atol=1e-4, rtol=0)


def test_k_means_finds_the_words_around_which_the_cells_lie():
    few, draw = torch.tensor([[0.0, 1.0], [5.0, 5.0], [9.0, 0.0]]), torch.Generator()
    which = torch.randint(3, (100, 2, 2), generator=draw.manual_seed(0))
    cells = few[which] + 0.01 * torch.randn(100, 2, 2, 2, generator=draw)
    words = k_means(cells.permute(0, 3, 1, 2), 3)
    assert_close(words[words[:, 0].argsort()], few, atol=0.02, rtol=0)


# refuses


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"codes": 0}, "codes is 0: it must be at least 1"),
        ({"width": -3}, "width is -3"),
        ({"grid": 5}, "a side of 32 pixels cannot be cut into 5 cells"),
        ({"least_sigma": 0.0}, "least_sigma is 0.0: it must be above 0 and finite"),
        ({"temperature": -1.0}, "temperature is -1.0: it must be above 0 and finite"),
    ],
)
def test_sizes_that_fit_nothing_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        DVAEConfig(**changes)


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 2, 8, 9), (1, 3, 8, 8)])
def test_pictures_of_another_size_are_refused(shape):
    with pytest.raises(ValueError, match=r"give \[B, 2, 8, 8\]"):
        tiny().encode(torch.zeros(shape))


@pytest.mark.parametrize(
    "ids, said",
    [
        (torch.zeros(2, 2, dtype=torch.long), r"the words have shape \[2, 2\]: give \[B, 2, 2\]"),
        (torch.zeros(1, 2, 3, dtype=torch.long), r"give \[B, 2, 2\]"),
        (torch.full((1, 2, 2), 7), "words go from 7 to 7: this codebook has 0 to 6"),
        (torch.full((1, 2, 2), -1), "words go from -1"),
    ],
)
def test_words_that_are_none_are_refused(ids, said):
    with pytest.raises(ValueError, match=said):
        tiny().decode(ids)


# learns


def test_it_learns_to_paint_shapes_better_than_k_means_in_seconds():
    config = DVAEConfig(codes=32, width=24, n_layers=1, temperature_steps=60)
    model, (seen, _) = tiny(config=config), captioned("seen", 64)
    model.begin(captioned("train", 60)[0])
    first = codebook_use(model, seen)["squared_error"]
    assert first < 0.5 * (seen - seen.mean(dim=0)).square().mean()
    how = TrainConfig(steps=100, lr=3e-3, warmup=5, precision="fp32")
    losses = train(model, WithStep(ShapesBatches(8)), dvae_loss, how)
    assert sum(losses[-10:]) < sum(losses[:10])
    assert codebook_use(model, seen)["squared_error"] < 0.97 * first
