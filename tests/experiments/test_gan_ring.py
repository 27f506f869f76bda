"""Tests of mini_models.experiments.gan_ring: brute force, the paper's loop, stored games."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import chi2
from torch.testing import assert_close

from mini_models import experiments
from mini_models.experiments import gan_ring as ring
from mini_models.experiments.gan_ring import (
    BATCH,
    FIVE_TO_ONE,
    HOW,
    MODES,
    SEEDS,
    SPREAD,
    RingBatches,
    alternate,
    centres,
    covered,
    look,
    play,
    players,
)
from mini_models.gan import CURES, LOSSES, gan_loss
from mini_models.train import train

STORED = experiments.results("gan-ring")["runs"]


def by_hand(points):
    """covered, with loops and numpy."""
    middles = [(2 * math.cos(k * math.pi / 4), 2 * math.sin(k * math.pi / 4)) for k in range(8)]
    held = [0] * 8
    for x, y in points.tolist():
        for k, (a, b) in enumerate(middles):
            held[k] += math.hypot(x - a, y - b) < 0.15
    return sum(n >= len(points) / 100 for n in held), sum(held) / len(points)


# agrees with an independent implementation


@pytest.mark.parametrize("scale", [0.0, 0.05, 0.2])
def test_clouds_and_good_points_are_counted_as_a_loop_counts_them(scale):
    draw = torch.Generator().manual_seed(0)
    points = ring.ring(400, draw)
    points = points[points[:, 0] > -1.0] + scale * torch.randn(1, 2, generator=draw)
    modes, good = by_hand(points)
    assert covered(points) == (modes, pytest.approx(good))


def test_the_ring_has_the_centres_and_the_spread_that_it_says():
    points = ring.ring(20_000, torch.Generator().manual_seed(0))
    distance, cloud = torch.cdist(points, centres()).min(dim=1)
    counts = np.bincount(cloud, minlength=MODES)
    assert ((counts - 2500) ** 2 / 2500).sum() < chi2.ppf(0.999, MODES - 1)
    assert (distance / SPREAD).square().mean().item() == pytest.approx(2, abs=0.06)
    assert covered(points)[1] == pytest.approx(1 - math.exp(-4.5), abs=0.003)


def test_alternate_is_algorithm_1_written_out():
    """For plain gradients: one step of the discriminator, then the generator meets the new one."""
    config, batches = replace(HOW, steps=1, schedule="constant"), RingBatches()
    ours, theirs = players("non-saturating", "none"), players("non-saturating", "none")
    torch.manual_seed(1)
    alternate(ours, batches, config)
    torch.manual_seed(1)
    (real,), log = batches[0], torch.nn.functional.logsigmoid
    judge, artist = theirs.discriminator, theirs.generator
    adam = [torch.optim.Adam(n.parameters(), HOW.lr, HOW.betas) for n in (judge, artist)]
    fake = artist(torch.randn(BATCH, 16)).detach()
    loss = -(log(judge(real)) + log(-judge(fake))).mean()
    loss.backward()
    adam[0].step()
    adam[1].zero_grad()
    (-log(judge(artist(torch.randn(BATCH, 16)))).mean()).backward()
    adam[1].step()
    for mine, other in ((ours.discriminator, judge), (ours.generator, artist)):
        for a, b in zip(mine.parameters(), other.parameters()):
            assert_close(a, b)
    assert torch.equal(ours.average.module[0].weight, ours.generator[0].weight)


# properties


def test_the_discriminator_moves_as_often_as_it_is_told_to_and_sees_fresh_points():
    seen, steps = [], []

    class Watched(RingBatches):
        def __getitem__(self, step):
            seen.append(step)
            return super().__getitem__(step)

    game = players("hinge", "r1")
    alternate(game, Watched(), replace(HOW, steps=3), 5, on_step=steps.append)
    assert seen == list(range(15)) and steps == [1, 2, 3]


def test_a_batch_depends_on_the_step_and_the_seed_alone():
    one, other = RingBatches(8), RingBatches(8, seed=1)
    assert torch.equal(one[3][0], RingBatches(8)[3][0])
    assert not torch.equal(one[3][0], one[4][0]) and not torch.equal(one[3][0], other[3][0])


def test_together_is_train_and_the_seed_fixes_the_game():
    short = replace(HOW, steps=5, checkpoint_every=5)
    game = players("non-saturating", "r1", 2)
    train(game, RingBatches(seed=2), gan_loss, short)
    steps = []
    again = play("non-saturating", "r1", "together", 2, short, lambda g, step: steps.append(step))
    assert look(game) == look(again) and steps == [1, 2, 3, 4, 5]
    other = play("non-saturating", "r1", "in turn", 2, short)
    assert look(other)["logit"] != look(game)["logit"]


def test_nothing_drawn_covers_nothing():
    assert covered(torch.zeros(100, 2)) == (0, 0.0)
    one = centres()[:1].repeat(100, 1)
    assert covered(one) == (1, 1.0)
    one[0] = centres()[5]  # a hundredth is enough
    assert covered(one) == (2, 1.0)


# what is stored


def test_every_game_that_the_book_shows_is_stored_once():
    games = [(moves, x, y) for moves in ("in turn", "together") for x in LOSSES for y in CURES]
    games += [("five to one", x, y) for x, y in FIVE_TO_ONE]
    found = [(r["moves"], r["loss"], r["cure"], r["seed"]) for r in STORED]
    assert sorted(found) == sorted((*g, seed) for g in games for seed in SEEDS)


def test_measure_plays_what_is_stored(monkeypatch):
    monkeypatch.setattr(ring, "SEEDS", (0,))
    monkeypatch.setattr(ring, "HOW", replace(HOW, steps=1))
    played = []
    real = ring.play
    monkeypatch.setattr(
        ring, "play", lambda *game: played.append(game) or real(*game, replace(HOW, steps=1))
    )
    found = ring.run(say=lambda text: None)
    stored = [(r["loss"], r["cure"], r["moves"], 0) for r in STORED if r["seed"] == 0]
    assert played == stored
    assert [set(r) for r in found["runs"]] == [set(STORED[0])] * len(stored)


# refuses


def test_moves_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="'at once' are unknown: choose one of together, in turn"):
        play("hinge", "r1", "at once")


# learns


def test_a_game_with_r1_finds_eight_of_eight_clouds_in_seconds():
    found = look(play("non-saturating", "r1", "together", config=replace(HOW, steps=1250)))
    assert found["modes"] == 8 and found["good"] > 0.6, found
