"""Tests of mini_models.zoo: what is saved loads again, and files are checked."""

import json

import pytest
import torch
from torch.testing import assert_close

from mini_models import zoo
from mini_models.gan import GAN, GANConfig
from mini_models.gpt import GPT, GPTConfig
from mini_models.machine.weights import write_safetensors
from mini_models.tokenizers import ByteLevelBPE, CharTokenizer
from mini_models.zoo import drawn_by


@pytest.fixture
def saved(tmp_path):
    """A small model on disk: its path, the model and its tokenizer."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(3, 8, n_layers=1, n_heads=1, d_model=4))
    tokenizer = CharTokenizer("abc")
    path = tmp_path / "small.safetensors"
    zoo.save(path, model, tokenizer, {"recipe": "none", "held_out": 1.0})
    return path, model, tokenizer


@pytest.fixture
def painter():
    torch.manual_seed(0)
    return GAN(GANConfig(latent=4, image_size=8, width=4)).eval()


class Reader(torch.nn.Module):
    """Paints an image in the grey of its prompt's only word."""

    class config:
        text_length = 2

    def draw(self, ids, generator=None):
        return ids[:, :1, None, None].expand(-1, 3, 4, 4) / 4


class Words:
    words = ["black", "white"]

    def encode_batch(self, texts, length):
        return torch.tensor([[self.words.index(t), 0][:length] for t in texts])


# properties


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


def test_models_are_listed_by_what_they_do():
    assert {"gpt-shakespeare", "gpt-tang"} <= set(zoo.names("write")) < set(zoo.names())
    assert set(zoo.names("draw a prompt")) < set(zoo.names("draw"))
    assert zoo.names("sing") == []


def test_saving_leaves_no_temporary_file(saved):
    path = saved[0]
    assert sorted(p.name for p in path.parent.iterdir()) == ["small.json", "small.safetensors"]


def test_the_same_seed_draws_the_same_and_a_model_without_text_needs_no_prompt(painter):
    a, b, c = (
        drawn_by(painter, None, None, 3, torch.Generator().manual_seed(s)) for s in (1, 1, 2)
    )
    assert a.shape == (3, 1, 8, 8) and a.min() >= 0 and a.max() <= 1
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_a_model_that_reads_draws_its_prompt():
    images = drawn_by(Reader(), Words(), "white", 2)
    assert_close(images, torch.full((2, 3, 4, 4), 0.25))


# refuses


def test_an_unknown_model_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="no model 'gpt-4': choose one of .*, gpt-shakespeare, "):
        zoo.load("gpt-4")


def test_what_a_model_does_not_do_is_refused_with_those_that_do():
    model = GPT(GPTConfig(3, 8, n_layers=1, n_heads=1, d_model=4))
    zoo.refuse_unless("write", "small", model)
    with pytest.raises(ValueError, match="small does not draw: choose one of .*gan-fashion"):
        zoo.refuse_unless("draw", "small", model)


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


def test_a_prompt_too_many_and_one_too_few_are_refused(painter):
    with pytest.raises(ValueError, match="reads no text: draw without a prompt"):
        drawn_by(painter, None, "a cat", 1)
    for prompt in (None, " "):
        with pytest.raises(ValueError, match="there is no prompt.*in these words: black white"):
            drawn_by(Reader(), Words(), prompt, 1)


def test_a_tokenizer_that_a_file_cannot_keep_is_refused_before_anything_is_written(tmp_path):
    path = tmp_path / "gpt.safetensors"
    with pytest.raises(ValueError, match="a file keeps no ByteLevelBPE: give one of CharTokenizer"):
        zoo.save(path, GPT(GPTConfig(256, 8, 1, 1, 8)), ByteLevelBPE([]), {})
    assert list(tmp_path.iterdir()) == []
