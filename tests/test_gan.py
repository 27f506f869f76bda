"""Tests of mini_models.gan: losses by hand, slopes by finite differences, a game that is fair."""

import signal
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn
from torch.testing import assert_close
from workers import GAME, Points, in_new_processes, layers, small_gan

from mini_models.gan import (
    CURES,
    GAN,
    LOSSES,
    Discriminator,
    GANConfig,
    Generator,
    frozen,
    gan_loss,
    gradient_norms,
    gradient_penalty,
    hinge,
    minimax,
    non_saturating,
    normalise_spectrum,
    r1_penalty,
    wasserstein,
)
from mini_models.train import CHECKPOINT, train


def two_sets(seed=0, n=64, scale=3.0):
    draw = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(2, n, generator=draw, dtype=torch.float64)).requires_grad_()


# agrees with an independent implementation


def test_the_losses_are_binary_cross_entropy_and_the_formulas_of_their_papers():
    logits = two_sets()
    real, fake = logits
    bce = F.binary_cross_entropy_with_logits
    ones, zeros = torch.ones_like(real), torch.zeros_like(fake)
    judge = bce(real, ones) + bce(fake, zeros)
    d_fake = fake.sigmoid()
    assert_close(minimax(real, fake), (judge, (1 - d_fake).log().mean()))
    assert_close(non_saturating(real, fake), (judge, bce(fake, ones)))
    margins = (1 - real).clamp(min=0).mean() + (1 + fake).clamp(min=0).mean()
    assert_close(hinge(real, fake), (margins, -fake.mean()))
    assert_close(wasserstein(real, fake), (fake.mean() - real.mean(), -fake.mean()))


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_the_gradients_of_the_losses_are_their_finite_differences(loss):
    logits = two_sets(seed=1, n=5)
    assert torch.autograd.gradcheck(lambda x: loss(*x), (logits,))


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_huge_logits_give_finite_losses_and_gradients(loss, size):
    for signs in ((1, 1), (1, -1), (-1, 1)):
        logits = torch.tensor(signs).mul(size).unsqueeze(1).requires_grad_()
        for value in loss(*logits):
            (slope,) = torch.autograd.grad(value, logits, allow_unused=True, retain_graph=True)
            assert value.isfinite() and slope.isfinite().all()
    real, fake = torch.tensor([[1e4], [-1e4]], requires_grad=True)  # the discriminator has won
    assert torch.autograd.grad(non_saturating(real, fake)[1], fake)[0].item() == -1
    assert torch.autograd.grad(minimax(real, fake)[1], fake)[0].item() == 0


def test_slopes_and_penalties_of_a_quadratic_are_those_worked_out_by_hand():
    judge = lambda x: (x**2).sum(dim=1) / 2 + 3 * x[:, 0]  # noqa: E731 - slope x + (3, 0)
    x = torch.tensor([[0.0, 0.0], [1.0, 3.0]], requires_grad=True)
    assert_close(gradient_norms(judge(x), x), torch.tensor([3.0, 5.0]))
    assert_close(r1_penalty(judge, x), torch.tensor((9.0 + 25.0) / 2))
    point = torch.tensor([[1.0, 3.0]])  # between a point and itself there is only the point
    assert_close(gradient_penalty(judge, point, point), torch.tensor(16.0))


@pytest.mark.parametrize("penalty", [r1_penalty, gradient_penalty])
def test_the_gradient_of_a_penalty_is_its_finite_difference_in_every_weight(penalty):
    torch.manual_seed(0)
    judge = nn.Sequential(nn.Linear(2, 5), nn.Softplus(), nn.Linear(5, 1), nn.Flatten(0)).double()
    sets = torch.randn(2, 6, 2, dtype=torch.float64)
    sets = sets[:1] if penalty is r1_penalty else sets

    def value():
        torch.manual_seed(1)  # the same points between
        return penalty(judge, *sets)

    value().backward()
    for weight in judge.parameters():
        for place in range(weight.numel()):
            flat = weight.data.view(-1)
            flat[place] += 1e-5
            above = value().item()
            flat[place] -= 2e-5
            below = value().item()
            flat[place] += 1e-5
            slope = 0.0 if weight.grad is None else weight.grad.view(-1)[place].item()
            assert slope == pytest.approx((above - below) / 2e-5, abs=1e-6)


def test_the_points_of_the_gradient_penalty_lie_between_real_and_drawn():
    seen = []
    judge = lambda x: seen.append(x.detach()) or x.sum(dim=(1, 2, 3))  # noqa: E731
    real, fake = torch.zeros(500, 1, 2, 2), torch.ones(500, 1, 2, 2)
    assert gradient_penalty(judge, real, fake).item() == pytest.approx(1)  # slope 2
    share = seen[0][:, 0, 0, 0]
    assert_close(seen[0], share.view(-1, 1, 1, 1).expand(-1, 1, 2, 2))  # one share an image
    assert share.min() < 0.05 and share.max() > 0.95 and abs(share.mean() - 0.5) < 0.05


def test_normalised_weights_have_the_largest_singular_value_one():
    torch.manual_seed(0)
    judge = normalise_spectrum(Discriminator(GANConfig(width=8))).train()
    for _ in range(200):  # each forward is one step of the power iteration
        judge(torch.rand(2, 1, 28, 28))
    matrices = [
        m.weight.flatten(1) for m in judge.modules() if isinstance(m, nn.Conv2d | nn.Linear)
    ]
    assert len(matrices) == 3
    for matrix in matrices:
        assert torch.linalg.svdvals(matrix)[0].item() == pytest.approx(1, abs=0.01)


# properties


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("cure", CURES)
def test_the_gradient_of_the_sum_is_each_network_s_own(loss, cure):
    game, real = small_gan(loss=loss, cure=cure), Points()[0][0]
    parts = []
    for which in (0, 1, slice(None)):
        game.zero_grad()
        state = {k: v.clone() for k, v in game.state_dict().items()}
        torch.manual_seed(3)  # the same latents, the same points between
        losses = game(real)
        sum(losses[which] if which == slice(None) else [losses[which]]).backward()
        game.load_state_dict(state)  # the vectors of the power iteration
        parts.append({n: p.grad for n, p in game.named_parameters() if p.requires_grad})
    ours, theirs, both = parts
    for name, gradient in both.items():
        mine, other = (ours, theirs) if name.startswith("discriminator") else (theirs, ours)
        assert other[name] is None and (gradient is None) == (mine[name] is None)
        if gradient is not None:
            assert_close(gradient, mine[name])
    moved = [n for n, g in both.items() if g is not None and g.abs().sum() > 0]
    assert any(n.startswith("generator") for n in moved)
    assert any(n.startswith("discriminator") for n in moved)


def test_frozen_lets_gradients_through_and_leaves_as_it_was_what_was_frozen_before():
    judge = layers(2, 1)
    judge[0].requires_grad_(False)
    x = torch.ones(1, 2, requires_grad=True)
    with frozen(judge):
        out = judge(x)
    out.sum().backward()
    assert x.grad.abs().sum() > 0 and all(w.grad is None for w in judge.parameters())
    assert [w.requires_grad for w in judge.parameters()] == [False, False, True, True]


def test_the_average_is_the_running_mean_of_the_weights_that_were_used():
    game = small_gan(average=0.75)
    weight, seen = game.generator[0].weight, []
    train(game, Points(), lambda m, b: seen.append(weight.detach().clone()) or gan_loss(m, b), GAME)
    mean = seen[0]
    for later in seen[1:]:
        mean = 0.75 * mean + 0.25 * later
    assert_close(game.average.module[0].weight, mean)
    game.eval()
    game(Points()[0][0])  # measuring moves nothing
    assert_close(game.average.module[0].weight, mean)


def test_what_is_settled_draws_the_same():
    for average in (0.9, 0.0):
        game = small_gan(average=average)
        train(game, Points(), gan_loss, GAME)
        z = game.latents(5)
        assert_close(game.settled().draw(z), game.draw(z))
        assert game.settled().average is None


def test_images_go_in_and_come_out_in_the_shape_and_range_of_images():
    for side, channels in ((28, 1), (32, 3), (8, 2)):
        config = GANConfig(latent=5, channels=channels, image_size=side, width=4)
        images = Generator(config)(torch.randn(3, 5))
        assert images.shape == (3, channels, side, side)
        assert images.min() >= 0 and images.max() <= 1
        assert Discriminator(config)(images).shape == (3,)


def test_told_is_the_share_of_inputs_that_the_discriminator_tells_right():
    game = GAN(GANConfig(latent=1), nn.Identity(), nn.Flatten(0))  # the input is the logit
    game.latents = lambda n: torch.tensor([[-1.0], [-1.0], [-1.0], [1.0]])
    game.eval()
    game(torch.tensor([[1.0], [1.0], [-1.0], [-1.0]]))
    assert game.told.item() == (0.5 + 0.75) / 2


def test_a_killed_game_resumes_to_the_same_weights_bit_for_bit(tmp_path):
    script = tmp_path / "victim.py"
    script.write_text(
        "import os, signal, sys; from workers import *\n"
        "from mini_models.gan import gan_loss; from mini_models.train import train\n"
        "die = lambda step, loss: step == 7 and os.kill(os.getpid(), signal.SIGKILL)\n"
        "train(small_gan(), Points(), gan_loss, GAME, sys.argv[1], on_step=die)\n"
    )
    victim = in_new_processes(script, tmp_path)
    assert victim.returncode == -signal.SIGKILL, victim.stderr
    whole, resumed = small_gan(), small_gan(seed=1)
    losses = train(whole, Points(), gan_loss, GAME)
    assert train(resumed, Points(), gan_loss, GAME, tmp_path, resume=True) == losses
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_two_processes_play_one_game(tmp_path):
    """They draw latents of their own, so one process alone ends elsewhere; but they stay equal."""
    script = tmp_path / "worker.py"
    script.write_text(
        "import os, sys; from workers import *\n"
        "from mini_models.gan import gan_loss; from mini_models.train import train\n"
        "game = small_gan(seed=int(os.environ['RANK']))\n"  # process 0's weights count
        "train(game, Points(), gan_loss, GAME, sys.argv[1])\n"
        "torch.save(game.state_dict(), sys.argv[1] + '/' + os.environ['RANK'])\n"
    )
    launcher = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    run = in_new_processes(script, tmp_path, launcher=[*launcher, "--main_process_port", "0"])
    assert run.returncode == 0, run.stderr
    first, second = (torch.load(tmp_path / rank) for rank in "01")
    start = small_gan().state_dict()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
        assert name == "average.n_averaged" or not torch.equal(value, start[name]), name
    assert "rng.1.0" in load_file(tmp_path / CHECKPOINT), "only one process took part"


# refuses


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"loss": "least-squares"}, "loss 'least-squares' is unknown: choose one of minimax, non-"),
        ({"cure": "dropout"}, "cure 'dropout' is unknown: choose one of none, r1, gradient-pen"),
        ({"image_size": 30}, "image_size is 30: give a multiple of 4, at least 8"),
        ({"image_size": 4}, "image_size is 4: give a multiple of 4, at least 8"),
    ],
)
def test_what_cannot_be_played_is_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        GANConfig(**changes)


# learns: tests/test_ring.py


def test_a_game_that_runs_away_is_refused_with_what_to_do():
    game = small_gan(loss="wasserstein", cure="none")
    with pytest.raises(ValueError, match="the loss of step .* is (nan|-?inf).*for a GAN, a cure"):
        train(game, Points(), gan_loss, replace(GAME, steps=200, lr=1e30))
