"""Tests of mini_models.zoo: the shipped models are what their cards say, and files are checked."""

import json
import re

import pytest
import torch
from torch.testing import assert_close

from mini_models import recipes, zoo
from mini_models.data import split, tang_quatrains
from mini_models.decoding import generate
from mini_models.gan import GAN, GANConfig
from mini_models.gpt import GPT, GPTConfig, gpt_loss
from mini_models.machine.files import digest
from mini_models.machine.weights import write_safetensors
from mini_models.recipes.gpt import held_out_batches
from mini_models.tokenizers import CharTokenizer
from mini_models.train import evaluate

SHIPPED = ["gpt-shakespeare", "gpt-tang"]


@pytest.fixture
def saved(tmp_path):
    """A small model on disk: its path, the model and its tokenizer."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(3, 8, n_layers=1, n_heads=1, d_model=4))
    tokenizer = CharTokenizer("abc")
    path = tmp_path / "small.safetensors"
    zoo.save(path, model, tokenizer, {"recipe": "none", "held_out": 1.0})
    return path, model, tokenizer


# agrees with an independent implementation


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_model_has_the_held_out_loss_of_its_card(name):
    model, tokenizer = zoo.load(name)
    card, recipe = zoo.card(name), recipes.get(name)
    train_text, held_out = recipe.texts()
    assert card["data_sha256"] == digest(train_text, held_out)
    batches = held_out_batches(held_out, tokenizer, model.config.context_length, recipe.lines)
    some = batches[:: max(len(batches) // 6, 1)]
    loss = evaluate(model, some, gpt_loss)
    assert abs(loss - card["held_out"]) < 0.05  # a sixth of the text stands for all of it


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_model_is_the_one_that_its_recipe_makes(name):
    model, _ = zoo.load(name)
    card, recipe = zoo.card(name), recipes.get(name)
    assert card["recipe"] == name and card["steps"] == recipe.train.steps
    assert card["parameters"] == sum(p.numel() for p in model.parameters())
    c, r = model.config, recipe.model
    assert (c.n_layers, c.d_model, c.positions) == (r.n_layers, r.d_model, r.positions)


# property


def test_the_shakespeare_model_is_small_and_good():
    card = zoo.card("gpt-shakespeare")
    assert card["parameters"] < 4_000_000 and card["held_out"] <= 1.50


def test_the_tang_model_keeps_the_form_of_a_quatrain():
    model, tokenizer = zoo.load("gpt-tang")
    stop = tokenizer.encode("\n")[0]
    draws = torch.Generator().manual_seed(11)
    ids = torch.full((300, 1), stop)
    ids = generate(model, ids, model.config.context_length - 1, stop=stop, generator=draws)
    poems = [tokenizer.decode(row).strip("\n") for row in ids[:, 1:].tolist()]
    lines = [rf"([^，。？！；：、\s]{{{n}}}[，。？！；：、]){{4}}" for n in (5, 7)]
    form = re.compile("|".join(lines))
    assert sum(form.fullmatch(poem) is not None for poem in poems) >= 0.95 * len(poems)
    known = {poem.text for poem in split(tang_quatrains())[0]}
    assert sum(poem in known for poem in poems) <= 3  # it writes, rather than recites


def test_what_is_saved_loads_as_it_was_but_for_its_8_bits(tmp_path):
    torch.manual_seed(0)
    model = GPT(GPTConfig(3, 8, n_layers=1, n_heads=1, d_model=64))
    path = tmp_path / "wide.safetensors"
    zoo.save(path, model, CharTokenizer("abc"), {"held_out": 1.0})
    loaded, tokenizer = zoo.load(str(path))
    assert list(tokenizer.characters) == list("abc")
    assert not loaded.training and zoo.card(str(path))["held_out"] == 1.0
    for a, b in zip(model.parameters(), loaded.parameters()):
        if a.numel() < 4_096 or a.dim() < 2:
            assert_close(a.half().float(), b, rtol=0, atol=0)
        else:
            assert ((a - b).abs() <= a.abs().amax(1, keepdim=True) / 253).all() and (a != b).any()


def test_a_file_of_half_precision_loads_as_it_did_before(saved):
    path, model, tokenizer = saved
    state = {k: v.half() for k, v in model.state_dict().items()}
    about = {"config": {**vars(model.config)}, "characters": tokenizer.characters}
    write_safetensors(path, state, about)
    loaded = zoo.load(str(path))[0].state_dict()
    for k, v in state.items():
        assert_close(loaded[k], v.float(), rtol=0, atol=0)


def test_a_saved_model_takes_a_byte_a_weight(tmp_path):
    model = GPT(GPTConfig(64, 64, n_layers=1, n_heads=4, d_model=128))
    zoo.save(tmp_path / "m.safetensors", model, None, {})
    weights = sum(p.numel() for p in model.parameters())
    assert weights <= (tmp_path / "m.safetensors").stat().st_size < 1.05 * weights


def test_a_loaded_model_keeps_its_matrices_column_by_column():
    model, _ = zoo.load("gpt-shakespeare")
    assert {m.weight.stride(0) for m in model.modules() if isinstance(m, torch.nn.Linear)} == {1}


def test_a_model_of_another_kind_loads_as_what_it_is(tmp_path):
    torch.manual_seed(0)
    model = GAN(GANConfig(latent=4, image_size=8, width=4, cure="spectral-norm", average=0.0))
    model(torch.rand(6, 1, 8, 8))  # moves the running means of its norms
    zoo.save(tmp_path / "gan.safetensors", model, None, {})
    loaded, tokenizer = zoo.load(str(tmp_path / "gan.safetensors"))
    assert isinstance(loaded, GAN) and tokenizer is None and loaded.config == model.config
    z = model.latents(3)
    assert_close(loaded.draw(z), model.draw(z), atol=1e-2, rtol=0)


def test_models_are_listed_by_their_kind():
    assert set(zoo.names("GPT")) >= set(SHIPPED) and zoo.names("Parrot") == []


def test_saving_leaves_no_temporary_file(saved):
    path = saved[0]
    assert sorted(p.name for p in path.parent.iterdir()) == ["small.json", "small.safetensors"]


def test_the_checkpoints_together_stay_within_their_budget():
    assert set(SHIPPED) <= set(zoo.names())
    assert sum(p.stat().st_size for p in zoo.CHECKPOINTS.iterdir()) < 20_000_000


# refuses


def test_an_unknown_model_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="no model 'gpt-4': choose one of .*, gpt-shakespeare, "):
        zoo.load("gpt-4")


def test_a_truncated_file_is_refused(saved):
    path = saved[0]
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ValueError, match="damaged or cut short"):
        zoo.load(str(path))


def test_weights_of_another_size_are_refused(saved):
    path, model, tokenizer = saved
    wider = GPT(GPTConfig(3, 8, n_layers=1, n_heads=1, d_model=6))
    about = {"config": {**vars(model.config)}, "characters": tokenizer.characters}
    write_safetensors(path, wider.state_dict(), about)
    with pytest.raises(ValueError, match=r"is for another model.*has shape \[.*\], this one's \["):
        zoo.load(str(path))


def test_a_config_of_another_version_is_refused(saved):
    path, model, tokenizer = saved
    about = {"config": {"n_experts": 8}, "characters": tokenizer.characters}
    write_safetensors(path, model.state_dict(), about)
    with pytest.raises(ValueError, match="another version of GPTConfig.*n_experts"):
        zoo.load(str(path))


def test_a_training_checkpoint_is_not_taken_for_a_finished_model(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    write_safetensors(path, {"losses": torch.zeros(2)}, {"config": {"steps": 2}})
    with pytest.raises(ValueError, match="is not a finished model"):
        zoo.load(str(path))


def test_a_missing_or_damaged_card_is_refused(saved):
    card = saved[0].with_suffix(".json")
    card.write_text(json.dumps({"recipe": "x"})[:-3])
    with pytest.raises(ValueError, match=r"the card .*small\.json cannot be read"):
        zoo.card(str(saved[0]))
    card.unlink()
    with pytest.raises(ValueError, match=r"the card .*small\.json cannot be read"):
        zoo.card(str(saved[0]))
