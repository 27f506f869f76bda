"""Tests of mini_models.in_context: what is asked is asked rightly, and scored rightly."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import bootstrap
from torch.testing import assert_close
from transformers import LlamaConfig, LlamaForCausalLM

from mini_models.in_context import (
    LABELS,
    SHOTS,
    START,
    calibrate,
    complete,
    interval,
    label_scores,
    tasks,
)

CHARACTERS = "\n abcdefghijklmnopqrstuvwxyz=>"
ALL = tasks()


class Letters:
    """A tokenizer of single characters, and of START."""

    pad_token_id = 0

    def encode(self, text):
        start, text = text.startswith(START), text.removeprefix(START)
        return [1] * start + [2 + CHARACTERS.index(c) for c in text]

    def decode(self, ids):
        return "".join(CHARACTERS[i - 2] if i > 1 else "?" for i in ids)


@pytest.fixture(scope="module")
def small():
    """A random Llama, whose answers differ from question to question."""
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=2 + len(CHARACTERS), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, initializer_range=0.5,
        pad_token_id=None, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        model.lm_head.weight[2] *= 2  # so that lines end, here and there
    return model, Letters()


QUESTIONS = ["\nup =>", "\na long question =>", "\nhot =>", "\nx =>", "\nopen the door =>"]


# agrees


@pytest.mark.parametrize("prefix", ["", "a => b\nc => d"])
def test_answers_are_those_of_transformers_one_prompt_at_a_time(small, prefix):
    model, letters = small
    expected = []
    for question in QUESTIONS:
        ids = torch.tensor([letters.encode(START + prefix + question)])
        seen = torch.ones_like(ids)
        out = model.generate(ids, attention_mask=seen, max_new_tokens=12, do_sample=False)
        new = letters.decode(out[0, ids.shape[1] :].tolist())
        expected.append(new.split("\n")[0].strip())
    assert complete(model, letters, prefix, QUESTIONS, 12) == expected
    assert len(set(expected)) > 2 and len({len(e) for e in expected}) > 1


def test_label_scores_are_log_probabilities_up_to_a_constant(small):
    model, letters = small
    found = label_scores(model, letters, "a => b", QUESTIONS, labels=("x", "y", "z"))
    for question, scores in zip(QUESTIONS, found):
        ids = torch.tensor([letters.encode(START + "a => b" + question)])
        p = model(ids).logits[0, -1].log_softmax(dim=-1)[letters.encode("xyz")]
        assert_close(scores - scores[0], p - p[0], atol=1e-4, rtol=1e-4)


def test_calibration_is_the_diagonal_map_of_zhao_et_al():
    torch.manual_seed(0)
    scores, free = torch.randn(7, 3), torch.randn(2, 3)
    W = torch.diag(1 / free.softmax(dim=-1).mean(dim=0))
    q = scores.softmax(dim=-1) @ W
    assert_close(calibrate(scores, free), q / q.sum(dim=-1, keepdim=True))


def test_the_interval_is_scipys_where_only_the_questions_are_drawn():
    scores = np.random.default_rng(0).random(40)  # no grid of fortieths, on which quantiles jump
    known = bootstrap((scores,), np.mean, method="percentile", n_resamples=9999, rng=1)
    expected = (known.confidence_interval.low, known.confidence_interval.high)
    assert_close(interval([scores[None]], times=9999), expected, atol=0.005, rtol=0)


# properties


def test_answers_do_not_depend_on_the_company(small):
    together = complete(*small, "a => b", QUESTIONS, 12)
    assert together == [complete(*small, "a => b", [q], 12)[0] for q in QUESTIONS]
    assert together[::-1] == complete(*small, "a => b", QUESTIONS[::-1], 12)


def test_an_answer_ends_where_the_model_ends_it(small):
    class Ending(Letters):
        def decode(self, ids):
            return super().decode(ids).replace("x", "<|im_end|>")

    said = complete(*small, "", QUESTIONS, 12)
    assert any("x" in answer for answer in said)
    cut = complete(small[0], Ending(), "", QUESTIONS, 12)
    assert cut == [answer.split("x")[0] for answer in said]


def test_a_text_without_content_is_calibrated_to_equal_shares():
    scores = torch.tensor([[2.0, -1.0]])
    assert_close(calibrate(scores, scores), torch.tensor([[0.5, 0.5]]))
    assert_close(calibrate(scores, scores * 0), scores.softmax(dim=-1))


def test_an_interval_is_as_wide_as_chance():
    assert interval([np.ones((4, 32))]) == (1.0, 1.0)
    coin = np.random.default_rng(0).integers(2, size=(1, 400))
    low, high = interval([coin])
    assert 0.08 < high - low < 0.12  # 2 * 1.96 * √(0.25 / 400) = 0.098
    draws = np.repeat([[0.0], [1.0]], 400, axis=1)  # all or nothing, by the draw of the shots
    assert interval([draws]) == (0.0, 1.0)
    wide, narrow = interval([coin]), interval([coin, coin])
    assert narrow[1] - narrow[0] < wide[1] - wide[0]


@pytest.mark.parametrize("name", ALL)
def test_shots_are_never_asked_and_nothing_is_asked_twice(name):
    task = ALL[name]
    questions = [x for x, _ in task.pairs]
    assert len(set(questions)) == len(questions) >= 48
    for draw in range(8):
        eight = task.shots(8, draw)
        assert not set(eight) & set(task.asked) and len(set(eight)) == 8
        assert all(task.shots(k, draw) == eight[:k] for k in SHOTS)
    assert task.shots(8, 0) != task.shots(8, 1)


def test_the_answers_of_the_questions_stand_in_their_texts():
    for text, answer in ALL["questions"].pairs:
        assert answer in text.split("\nQuestion:")[0].lower() or answer in text
    texts = [{x.split("\n")[0] for x, _ in part} for part in
             (ALL["questions"].pool, ALL["questions"].asked)]  # fmt: skip
    assert not texts[0] & texts[1]


def test_half_of_the_reviews_are_positive():
    for part in (ALL["sentiment"].pool, ALL["sentiment"].asked):
        assert sum(y == "positive" for _, y in part) == len(part) / 2
    assert {f" {y}" for _, y in ALL["sentiment"].pairs} == set(LABELS)


def test_a_prompt_is_written_as_in_the_paper():
    task = replace(ALL["opposite"], about="Opposites.")
    assert task.prefix([("a", "b"), ("c", "d")], about=True) == "Opposites.\na => b\nc => d"
    assert task.prefix([]) == "" and task.question("x") == "x =>"


# refuses


def test_more_shots_than_the_pool_holds_are_refused():
    with pytest.raises(ValueError, match="17 shots were asked for: the pool holds 16"):
        ALL["plural"].shots(17, draw=0)


def test_a_label_of_several_tokens_is_refused(small):
    with pytest.raises(ValueError, match="the labels yes, n must be one token each"):
        label_scores(*small, "", QUESTIONS, labels=("yes", "n"))
