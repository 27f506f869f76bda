"""Tests of mini_models.vq: numpy loops, k-means, and gradients that were handed over."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from mini_models import vq
from mini_models.data.shapes import captioned
from mini_models.data.shapes.batches import ShapesBatches
from mini_models.dvae import DVAEConfig, k_means, perplexity, reconstruction_nats
from mini_models.train import TrainConfig, train
from mini_models.vq import VQVAE, Codebook, straight_through, vq_loss

TINY = DVAEConfig(codes=7, grid=2, image_size=8, channels=2, width=6, n_layers=1)


def a_codebook(seed=0) -> Codebook:
    torch.manual_seed(seed)
    return Codebook(5, 3)


def some(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# agrees with an independent implementation


def test_the_nearest_vector_is_found_as_a_loop_finds_it():
    codebook, places = a_codebook(), some(20, 3, seed=1)
    vectors = codebook.vectors.numpy()
    expected = [np.argmin(((vectors - place) ** 2).sum(axis=1)) for place in places.numpy()]
    assert codebook.nearest(places).tolist() == expected


def test_the_averages_move_as_a_loop_moves_them():
    codebook = a_codebook()
    counts, sums = np.ones(5), codebook.vectors.double().numpy()
    for step in range(3):
        places = some(20, 3, seed=step)
        ids = codebook.nearest(places)
        codebook.follow(places, ids)
        for word in range(5):
            mine = places.double().numpy()[ids.numpy() == word]
            counts[word] = vq.KEPT * counts[word] + (1 - vq.KEPT) * len(mine)
            sums[word] = vq.KEPT * sums[word] + (1 - vq.KEPT) * mine.sum(axis=0)
    assert_close(codebook.counts.double(), torch.from_numpy(counts), atol=1e-5, rtol=1e-5)
    expected = torch.from_numpy(sums / counts[:, None])
    assert_close(codebook.vectors.double(), expected, atol=1e-5, rtol=1e-4)


def test_the_averages_are_exact_under_autocast():
    places, ids = some(4096, 3), torch.zeros(4096, dtype=torch.long)
    plain, half = a_codebook(), a_codebook()
    plain.follow(places, ids)
    with torch.autocast("cpu", torch.bfloat16):
        half.follow(places, ids)
    assert_close(plain.vectors, half.vectors, rtol=0, atol=0)


def test_vectors_end_at_the_means_of_those_who_chose_them_as_in_k_means():
    codebook, places = a_codebook(), some(50, 3, seed=1)
    ids = codebook.nearest(places)
    for _ in range(2000):  # the choice held fixed, as in one step of k-means
        codebook.follow(places, ids)
    for word in ids.unique():
        assert_close(codebook.vectors[word], places[ids == word].mean(dim=0), atol=1e-4, rtol=0)


def test_the_loss_is_put_together_by_hand():
    torch.manual_seed(0)
    model = VQVAE(TINY).eval()
    images = some(3, 2, 8, 8).sigmoid()
    nats, distance = model(images)
    vectors = model.codebook.vectors[model.encode(images)].permute(0, 3, 1, 2)
    painted = model.decoder(vectors)
    sigma = F.mse_loss(painted, images).sqrt().item()
    assert_close(nats, reconstruction_nats(painted, images, sigma))
    assert_close(distance, (model.places(images) - vectors).square().mean())
    expected = nats.mean() / 128 + 0.25 * distance
    assert_close(vq_loss(model, (images, "not used")), expected)


# properties


def test_its_words_begin_as_those_of_k_means():
    model, images = VQVAE(TINY), some(20, 2, 8, 8).sigmoid()
    model.begin(images)
    with torch.no_grad():
        assert_close(model.codebook.vectors, k_means(model.encoder(images), 7), rtol=0, atol=0)
    assert_close(model.codebook.sums, model.codebook.vectors)


def test_straight_through_says_what_is_hard_and_sends_the_gradient_to_what_is_soft():
    soft, hard = some(4, seed=1).requires_grad_(), some(4, seed=2).requires_grad_()
    out = straight_through(soft, hard)
    assert_close(out, hard)
    (out**2).sum().backward()
    assert_close(soft.grad, 2 * hard.detach())
    assert hard.grad is None


def test_the_encoder_learns_from_the_painting_and_the_codebook_has_no_gradient():
    torch.manual_seed(0)
    model, images = VQVAE(TINY), some(3, 2, 8, 8).sigmoid()
    nats, _ = model(images)
    nats.sum().backward()
    last = model.encoder[-1].layers[-1]  # those before it wait until it is no longer zero
    assert all(p.grad.abs().sum() > 0 for p in last.parameters())
    assert not list(model.codebook.parameters())


def test_the_codebook_moves_in_training_and_rests_in_evaluation():
    torch.manual_seed(0)
    model, images = VQVAE(TINY), some(3, 2, 8, 8).sigmoid()
    before = model.codebook.vectors.clone()
    model.eval()(images)
    assert_close(model.codebook.vectors, before, rtol=0, atol=0)
    model.train()(images)
    assert (model.codebook.vectors != before).any()


def test_a_word_that_nobody_chooses_keeps_its_vector():
    codebook, places = a_codebook(), some(20, 3, seed=1)
    before = codebook.vectors.clone()
    for _ in range(300):
        codebook.follow(places, torch.zeros(20, dtype=torch.long))
    assert_close(codebook.vectors[1:], before[1:], rtol=1e-3, atol=1e-3)
    assert_close(codebook.vectors[0], places.mean(dim=0), rtol=1e-2, atol=1e-2)


def test_pictures_become_words_and_pictures_of_the_same_size():
    torch.manual_seed(0)
    model, images = VQVAE(TINY).eval(), some(3, 2, 8, 8).sigmoid()
    ids = model.encode(images)
    assert ids.shape == (3, 2, 2) and ids.dtype == torch.int64
    painted = model.decode(ids)
    assert painted.shape == images.shape and painted.min() >= 0 and painted.max() <= 1


# refuses


def test_what_does_not_fit_is_refused():
    model = VQVAE(TINY)
    with pytest.raises(ValueError, match=r"the images have shape \[1, 3, 8, 8\]: give"):
        model.encode(torch.zeros(1, 3, 8, 8))
    with pytest.raises(ValueError, match="words go from 7 to 7: this codebook has 0 to 6"):
        model.decode(torch.full((1, 2, 2), 7))


# learns


def test_it_learns_to_paint_shapes_in_seconds():
    torch.manual_seed(0)
    model, images = VQVAE(DVAEConfig(codes=32, width=16, n_layers=1)), captioned("seen", 64)[0]
    model.begin(captioned("train", 60)[0])
    ids = model.eval().encode(images)
    assert F.mse_loss(model.decode(ids), images) < 0.5 * images.var(dim=0).mean()
    how = TrainConfig(steps=60, lr=1e-3, warmup=5, precision="fp32")
    losses = train(model, ShapesBatches(8), vq_loss, how)
    assert sum(losses[-10:]) < sum(losses[:10])
    assert perplexity(model.eval().encode(images), 32) > 2
