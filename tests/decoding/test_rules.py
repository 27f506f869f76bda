"""Tests of mini_models.decoding.rules: against the filters of transformers, and known chances."""

import re
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close
from transformers import (
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from mini_models import zoo
from mini_models.decoding import generate
from mini_models.decoding.rules import Rules, keep_legal, keep_nucleus, keep_top_k, penalise, slots
from mini_models.gpt import GPT

V = 11
TEXT = torch.tensor([[1, 2, 2], [4, 5, 6]])


def draw(*shape, seed=0):
    return 3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# agrees with an independent implementation


@pytest.mark.parametrize(
    "settings",
    [{}, {"top_k": 3}, {"top_p": 0.7}, {"top_k": 5, "top_p": 0.8}, {"top_k": 99, "top_p": 1.0}],
)
@pytest.mark.parametrize("penalty", [1.0, 1.4])
def test_tokens_are_drawn_from_the_distribution_of_transformers_filters(settings, penalty):
    logits, text = draw(1, V), TEXT[:1]
    scores = RepetitionPenaltyLogitsProcessor(penalty)(text, logits)
    scores = TemperatureLogitsWarper(1.7)(text, scores)
    if "top_k" in settings:
        scores = TopKLogitsWarper(settings["top_k"])(text, scores)
    if "top_p" in settings:
        scores = TopPLogitsWarper(settings["top_p"])(text, scores)
    chances = scores.softmax(-1)[0]
    rules = Rules(1.7, repetition_penalty=penalty, **settings)
    assert_close(rules.probabilities(rules.scores(logits, text))[0], chances)
    n, generator = 40_000, torch.Generator().manual_seed(0)
    many = rules.choose(logits.expand(n, V), text.expand(n, 3), generator)
    shares = many.bincount(minlength=V) / n
    assert (shares[chances == 0] == 0).all()
    # five standard deviations of a share
    assert ((shares - chances).abs() <= 5 * (chances * (1 - chances) / n).sqrt()).all()


@pytest.mark.parametrize("p", [0.01, 0.3, 0.6, 0.95])
def test_the_nucleus_equals_that_of_transformers(p):
    logits = draw(500, V)
    assert torch.equal(keep_nucleus(logits, p), TopPLogitsWarper(p)(None, logits))


@pytest.mark.parametrize("k", [1, 4, V, 99])
def test_the_top_k_equal_those_of_transformers(k):
    logits = draw(500, V)
    assert torch.equal(keep_top_k(logits, k), TopKLogitsWarper(k)(None, logits))


@pytest.mark.parametrize("penalty", [0.5, 1.0, 1.3, 5.0])
def test_the_penalty_equals_that_of_transformers(penalty):
    logits, text = draw(50, V), torch.randint(V, (50, 7))
    expected = RepetitionPenaltyLogitsProcessor(penalty)(text, logits)
    assert_close(penalise(logits, text, penalty), expected)


def test_the_nucleus_is_the_fewest_tokens_that_reach_p():
    logits = torch.tensor([[0.1, 0.4, 0.05, 0.25, 0.2], [0.2, 0.2, 0.2, 0.2, 0.2]]).log()
    for p, kept in [(0.39, {1}), (0.41, {1, 3}), (0.84, {1, 3, 4}), (0.86, {0, 1, 3, 4})]:
        row = keep_nucleus(logits, p)[0]
        assert set(row.isfinite().nonzero()[:, 0].tolist()) == kept
        assert torch.equal(row[row.isfinite()], logits[0][row.isfinite()])
    assert keep_nucleus(logits, 0.5)[1].isfinite().sum() == 3


# properties


def test_temperature_zero_is_certain_of_the_highest_score():
    logits = draw(5, V)
    certain = Rules(0.0).probabilities(logits)
    assert torch.equal(certain.argmax(-1), logits.argmax(-1)) and torch.equal(
        certain.sum(-1), torch.ones(5)
    )
    assert certain.max(-1).values.eq(1).all()


@pytest.mark.parametrize("kind", [list, set, tuple, torch.tensor])
def test_only_what_is_legal_is_left_and_each_row_is_asked_with_its_own_text(kind):
    asked, logits = [], draw(2, V)

    def legal(ids):
        asked.append(ids)
        return kind([ids[-1], 7])

    left = keep_legal(logits, TEXT, legal)
    assert asked == TEXT.tolist()
    for row, allowed in enumerate(([2, 7], [6, 7])):
        assert left[row].isfinite().nonzero()[:, 0].tolist() == sorted(allowed)
        assert torch.equal(left[row][allowed], logits[row][allowed])
    assert torch.equal(keep_legal(logits, TEXT, lambda ids: None), logits)


def test_a_row_that_has_stopped_is_not_asked_and_can_only_stop_again():
    text = torch.tensor([[9, 1, 2, 3], [1, 1, 9, 9]])
    rules = Rules(stop=9, start=1, legal=lambda ids: [5] if ids[-1] != 9 else [])
    for values in (rules.scores(draw(2, V), text), rules.log_probabilities(draw(2, V), text)):
        assert values.isfinite().nonzero().tolist() == [[0, 5], [1, 9]] and values[1, 9] == 0
    assert rules.finished(text).tolist() == [False, True] and not rules.all_finished(text)
    assert rules.all_finished(text[1:]) and not Rules().all_finished(text)


def test_log_probabilities_are_the_models_own_where_a_token_is_legal():
    logits = draw(2, V)
    found = Rules(legal=lambda ids: [3, 4]).log_probabilities(logits, TEXT)
    assert_close(found[:, 3:5], logits.log_softmax(-1)[:, 3:5])
    assert found.isfinite().sum() == 4


def test_rules_leave_the_logits_they_are_given_as_they_are():
    logits = draw(2, V)
    before = logits.clone()
    rules = Rules(0.7, 5, 0.9, 1.3, lambda ids: [1, 2, 3], stop=2, start=1)
    rules.choose(logits, TEXT)
    rules.log_probabilities(logits, TEXT)
    assert torch.equal(logits, before)


def test_half_precision_logits_are_drawn_from_too():
    assert Rules(top_k=3, top_p=0.9).choose(draw(2, V).bfloat16(), TEXT).shape == (2,)


def test_slots_allow_at_each_place_behind_the_prompt_what_stands_there():
    legal = slots([[1, 2], None, {3}], start=2)
    found = [legal([0] * n) for n in range(6)]
    assert found[2].tolist() == [1, 2] and found[4].tolist() == [3]
    assert [f for i, f in enumerate(found) if i not in (2, 4)] == [None] * 4


@pytest.mark.parametrize("width", [5, 7])
@pytest.mark.parametrize("temperature", [0.0, 1.0, 5.0])
def test_poems_written_under_the_law_of_their_form_keep_it_always(width, temperature):
    trained, tokenizer = zoo.load("gpt-tang")
    torch.manual_seed(0)
    untrained = GPT(replace(trained.config, context_length=40))  # it knows nothing of poems
    comma, point, end = tokenizer.encode("，。\n")
    marks = {i for i, sign in enumerate(tokenizer.characters) if sign in "，。？；\n"}
    signs = [i for i in range(tokenizer.vocab_size) if i not in marks]
    form = [*[signs] * width, [comma], *[signs] * width, [point]] * 2
    for poet in (trained, untrained):
        n = min(len(form) + 1, poet.config.context_length - 1)
        start = torch.full((40, 1), end)
        ids = generate(poet, start, n, temperature, legal=slots([*form, [end]], start=1))
        line = rf"[^，。？；\n]{{{width}}}"
        for row in ids[:, 1:].tolist():
            assert re.fullmatch(rf"({line}，{line}。){{2}}\n?", tokenizer.decode(row))


# refuses


def test_a_text_after_which_nothing_is_legal_is_refused():
    with pytest.raises(ValueError, match=r"no token is legal after 3 tokens that end in \[4, 5, 6"):
        keep_legal(draw(2, V), TEXT, lambda ids: [] if ids[0] == 4 else [1])


@pytest.mark.parametrize("wrong", [[V], [-1, 3], torch.ones(V, dtype=torch.bool)])
def test_what_is_no_token_is_not_legal(wrong):
    with pytest.raises(ValueError, match=r"give token ids from 0 to 10"):
        keep_legal(draw(2, V), TEXT, lambda ids: wrong)
