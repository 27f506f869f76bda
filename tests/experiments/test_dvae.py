"""Tests of mini_models.experiments.dvae: what is stored is what the module measures."""

import math

import pytest
import torch
from torch.testing import assert_close

from mini_models import experiments
from mini_models.data.shapes import captioned, parse, scenes
from mini_models.dvae import DVAE
from mini_models.experiments import dvae
from mini_models.experiments.dvae import CHANGES, SMALL, rate_and_error, to_learn, trained
from mini_models.vq import VQVAE

# agrees with an independent implementation


def test_bits_are_those_of_the_entropy_of_the_words():
    torch.manual_seed(0)
    model = DVAE(SMALL).eval()
    figures = rate_and_error(model)
    ids = model.encode(captioned("seen", dvae.JUDGED, seed=1)[0])
    share = [float((ids == word).float().mean()) for word in range(SMALL.codes)]
    entropy = -sum(f * math.log2(f) for f in share if f)
    assert figures["bits"] == pytest.approx(64 * entropy, rel=1e-3)
    assert figures["bits_at_most"] == 64 * 7
    assert figures["words_used"] == sum(f > 0 for f in share) and figures["exact"] == 0


# properties


def test_what_is_learned_from_is_of_training_and_what_is_judged_is_not():
    assert to_learn().shape == (dvae.PICTURES, 3, 32, 32)
    images, captions = captioned("train", dvae.PICTURES, seed=7)
    assert_close(images[:8], to_learn()[:8])
    seen = {parse(text) for text in captioned("seen", dvae.JUDGED, seed=1)[1]}
    assert seen.isdisjoint(scenes("train"))


def test_the_same_seed_trains_the_same_model_and_another_another():
    first, again, other = (trained(seed=seed, steps=2, width=8, codes=5) for seed in (0, 0, 1))
    assert_close(first.state_dict(), again.state_dict(), rtol=0, atol=0)
    assert (first.codebook.weight != other.codebook.weight).any()
    assert first.config.codes == 5 and not first.training


def test_both_kinds_are_trained():
    model = trained(VQVAE, steps=2, width=8)
    assert isinstance(model, VQVAE) and (model.codebook.counts != 1).any()


def test_the_stored_models_are_those_of_the_module():
    found = experiments.results("dvae")
    sizes = [found[key] for key in ("steps", "pictures", "judged")]
    assert sizes == [dvae.HOW.steps, dvae.PICTURES, dvae.JUDGED]
    assert list(found["models"]) == list(CHANGES)


def test_more_words_and_more_cells_buy_a_smaller_error_and_random_words_collapse():
    models = experiments.results("dvae")["models"]
    error = {name: figures["squared_error"] for name, figures in models.items()}
    words = [error[f"{n} words"] for n in (512, 128, 32, 8)]
    cells = [error[name] for name in ("a grid of 16", "128 words", "a grid of 4", "a grid of 2")]
    assert words == sorted(words) and cells == sorted(cells)
    assert models["random words"]["perplexity"] < 2
    assert models["nearest, random"]["words_used"] < models["nearest vectors"]["words_used"] / 2
