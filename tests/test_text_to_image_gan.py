"""Tests of mini_models.text_to_image_gan: losses by hand, who moves what, captions read."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from mini_models.data.shapes.batches import MatchingBatches, english_tokenizer
from mini_models.text_to_image_gan import (
    TextEncoder,
    TextToImageConfig,
    TextToImageGAN,
    contrast,
    matching_aware,
    text_to_image_loss,
)
from mini_models.train import CHECKPOINT, TrainConfig, train

SMALL = TextToImageConfig(latent=8, d_model=16, width=8, eye=8, features=32, average=0.9)
HOW = TrainConfig(
    steps=6, warmup=0, betas=(0.0, 0.99), weight_decay=0.0, precision="fp32", checkpoint_every=3
)


def game(seed=0, config=SMALL) -> TextToImageGAN:
    torch.manual_seed(seed)
    return TextToImageGAN(config)


def a_batch(n=6, step=0):
    return MatchingBatches(n, ramp=0)[step]


def read(*captions, length=10):
    return english_tokenizer().encode_batch(captions, length)


# agrees with an independent implementation


def test_the_matching_loss_is_cross_entropy_with_three_kinds_of_pairs():
    torch.manual_seed(0)
    yes, no, mismatch = torch.randn(3, 32, dtype=torch.float64)
    for wrong in (0.0, 0.3, 0.5):
        by_hand = (
            -yes.sigmoid().log().mean()
            - (
                (1 - wrong) * (1 - no.sigmoid()).log() + wrong * (1 - mismatch.sigmoid()).log()
            ).mean()
        )
        assert_close(matching_aware(yes, no, mismatch, wrong), by_hand)


def test_the_best_answer_is_the_share_of_right_pairs_among_all_that_look_so():
    p, q, m = 0.3, 0.2, 0.6  # how often a pair is right, drawn and mismatched
    logit = torch.zeros((), dtype=torch.float64, requires_grad=True)
    for _ in range(3000):
        loss = p * F.softplus(-logit) + (0.5 * q + 0.5 * m) * F.softplus(logit)
        (slope,) = torch.autograd.grad(loss, logit)
        logit.data -= slope
    assert_close(logit.sigmoid().item(), p / (p + q / 2 + m / 2))


def test_contrast_is_minus_the_log_of_the_own_captions_share():
    scores = torch.tensor([[2.0, 1.0, 0.0], [3.0, 0.5, -1.0]], dtype=torch.float64)
    shares = [scores[0].softmax(0)[0], scores[1].softmax(0)[1]]
    assert_close(contrast(scores), -(shares[0].log() + shares[1].log()) / 2)


def test_a_round_is_what_its_parts_give_one_by_one():
    gan, (images, ids, wrong) = (
        game(config=TextToImageConfig(**{**vars(SMALL), "noise": 0.0})),
        a_batch(),
    )
    gan.generator.eval()  # so that batch statistics do not depend on how often it draws
    judge = gan.discriminator
    torch.manual_seed(3)
    ours, theirs = gan(images, ids, wrong)
    torch.manual_seed(3)
    gan.veiled(images)  # draws as many numbers as the round does
    fake = gan.generator(gan.generator.latents(6), ids).detach()
    everything = judge.read(torch.cat([ids, wrong]))
    slopes = []
    for image, text in zip(images[:1], ids[:1]):  # a quarter of six, rounded down
        image = image[None].requires_grad_()
        (slope,) = torch.autograd.grad(judge(image, text[None]).sum(), image)
        slopes.append(slope.square().sum())
    by_hand = (
        matching_aware(judge(images, ids), judge(fake, ids), judge(images, wrong))
        + SMALL.r1 / 2 * torch.stack(slopes).mean()
        + contrast(judge.alike(judge.see(images), everything))
    )
    assert_close(ours, by_hand)
    assert_close(
        theirs,
        F.softplus(-judge(fake, ids)).mean() + contrast(judge.alike(judge.see(fake), everything)),
    )


# properties


def test_each_loss_moves_its_own_network_alone():
    gan = game()
    ours, theirs = gan(*a_batch())
    theirs.backward(retain_graph=True)
    assert all(w.grad is None for w in gan.discriminator.parameters())
    assert all(w.grad is not None for w in gan.generator.parameters())
    gan.zero_grad(set_to_none=True)
    ours.backward()
    assert all(w.grad is None for w in gan.generator.parameters())
    assert all(w.grad is not None for w in gan.discriminator.parameters())


def test_a_caption_means_the_same_however_far_its_row_is_padded():
    torch.manual_seed(0)
    reader = TextEncoder(SMALL)
    for text in ("a small red ring", "a small red ring left of a large blue heart"):
        assert_close(reader(read(text)), reader(read(text, length=len(text.split()))))


def test_the_order_of_the_words_counts():
    torch.manual_seed(0)
    reader = TextEncoder(SMALL)
    one, other = reader(
        read(
            "a small red ring above a large blue heart", "a large blue heart above a small red ring"
        )
    )
    assert (one - other).abs().max() > 0.01


def test_the_same_latent_draws_what_the_caption_changes_and_the_reverse():
    generator = game().generator.eval()
    ids = read("a small red ring", "a large blue heart")
    z = generator.latents(2, torch.Generator().manual_seed(0))
    by_text = generator(z[:1].repeat(2, 1), ids)
    by_latent = generator(z, ids[:1].repeat(2, 1))
    assert not torch.allclose(by_text[0], by_text[1])
    assert not torch.allclose(by_latent[0], by_latent[1])


def test_without_wrong_captions_in_the_loss_they_change_nothing():
    config = TextToImageConfig(**{**vars(SMALL), "wrong": 0.0, "contrast": 0.0})
    gan, (images, ids, wrong) = game(config=config).eval(), a_batch()
    losses = []
    for other in (wrong, wrong.roll(1, 0)):
        torch.manual_seed(1)
        losses.append(gan(images, ids, other)[0])
    assert_close(*losses)


def test_drawing_is_by_the_average_and_repeatable():
    gan = game()
    ids = read("a small red ring", "a large blue heart")
    before = gan.draw(ids, torch.Generator().manual_seed(0))
    assert before.shape == (2, 3, 32, 32) and before.min() >= 0 and before.max() <= 1
    with torch.no_grad():
        for w in gan.generator.parameters():
            w.zero_()
    assert_close(gan.draw(ids, torch.Generator().manual_seed(0)), before)
    assert gan.settled() is gan.average.module
    gan.generator.draw(ids)
    assert gan.generator.training  # drawing in between leaves a game as it is
    assert all(w.requires_grad for w in gan.settled().parameters())


def test_a_game_resumes_with_the_same_weights(tmp_path):
    batches = MatchingBatches(8, ramp=0)
    whole, half = game(), game()
    train(whole, batches, text_to_image_loss, HOW)
    train(half, batches, text_to_image_loss, HOW, tmp_path, on_step=lambda step, loss: step == 3)
    assert (tmp_path / CHECKPOINT).is_file()
    again = game(1)
    train(again, batches, text_to_image_loss, HOW, tmp_path, resume=True)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_drawing_in_the_middle_of_a_game_changes_nothing_in_it():
    torch.manual_seed(0)
    game, (_, ids, _) = TextToImageGAN(SMALL), MatchingBatches(4, objects=1)[0]
    before = {name: (p.requires_grad, p.clone()) for name, p in game.named_parameters()}
    assert game.draw(ids).shape == (4, 3, 32, 32) and game.training
    for name, p in game.named_parameters():
        assert p.requires_grad == before[name][0] and p.equal(before[name][1]), name


# refuses


def test_sizes_and_shares_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="wrong is 1: give a share from 0 to below 1"):
        TextToImageConfig(wrong=1)
    with pytest.raises(ValueError, match="a width of 30 cannot be shared by 4 heads"):
        TextToImageConfig(d_model=30)


# learns


def test_the_discriminator_learns_to_find_a_pictures_caption():
    torch.manual_seed(0)
    judge, batches = TextToImageGAN(SMALL).discriminator, MatchingBatches(32, objects=1, ramp=10**9)
    descent = torch.optim.Adam(judge.parameters(), lr=4e-3)
    for step in range(250):
        images, ids, wrong = batches[step]
        seen, said = judge.see(images), judge.read(torch.cat([ids, wrong]))
        loss = contrast(judge.alike(seen, said))
        descent.zero_grad()
        loss.backward()
        descent.step()
    assert loss < 2.5  # of ln 64 = 4.16 at the start
