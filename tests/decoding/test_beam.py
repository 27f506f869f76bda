"""Tests of mini_models.decoding.beam: against exhaustive search, and transformers' beam search."""

from itertools import product

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from mini_models.decoding import generate
from mini_models.gpt import GPT, GPTConfig
from mini_models.pretrained.convert import gpt_from_hf

V = 5
PROMPT = torch.tensor([[1, 2], [4, 0], [3, 3]])


def gpt(seed=0, V=V):
    """A small GPT with matrices so large that its choices differ from place to place."""
    torch.manual_seed(seed)
    model = GPT(GPTConfig(V, 24, 2, 2, 16)).eval()
    for name, p in model.named_parameters():
        if "norm" not in name:
            p.data = torch.randn_like(p) * (0.7 if p.ndim == 2 else 0.5)
    return model


@torch.no_grad()
def log_probability(model, text, start, stop=None):
    """The sum of ln p of all tokens from start on, up to and with the first stop."""
    logits = model(torch.tensor([text]))[0].log_softmax(-1)
    total = 0.0
    for t in range(start, len(text)):
        total += logits[t - 1, text[t]].item()
        if text[t] == stop:
            break
    return total


def exhaustive(model, prompt, n, stop=None, allowed=lambda text: True):
    """The most probable of all V ** n continuations; behind a stop there are only stops."""
    best, found = -float("inf"), None
    for tail in product(range(V), repeat=n):
        tail = list(tail)
        if stop in tail and set(tail[tail.index(stop) :]) != {stop}:
            continue
        if not allowed(prompt + tail):
            continue
        score = log_probability(model, prompt + tail, len(prompt), stop)
        if score > best:
            best, found = score, prompt + tail
    return found


# agrees with an independent implementation


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("stop", [None, 2])
@pytest.mark.parametrize("cache", [True, False])
def test_with_full_width_it_finds_what_exhaustive_search_finds(seed, stop, cache):
    model, n = gpt(seed), 4
    text = generate(model, PROMPT, n, beams=V ** (n - 1), stop=stop, cache=cache)
    for row, prompt in zip(text.tolist(), PROMPT.tolist()):
        expected = exhaustive(model, prompt, n, stop)
        assert row == expected[: len(row)] and set(expected[len(row) :]) <= {stop}


def test_among_legal_texts_it_finds_the_most_probable():
    model, n = gpt(), 4
    rising = lambda ids: [t for t in range(V) if (t - ids[-1]) % V in (1, 2)]  # noqa: E731
    text = generate(model, PROMPT, n, beams=2**n, legal=rising)
    for row, prompt in zip(text.tolist(), PROMPT.tolist()):
        steps = lambda text: all((b - a) % V in (1, 2) for a, b in zip(text[1:], text[2:]))  # noqa: E731
        assert row == exhaustive(model, prompt, n, allowed=steps)


@pytest.mark.parametrize("beams", [2, 3, 7])
def test_it_writes_what_the_beams_of_transformers_write(beams):
    torch.manual_seed(0)
    sizes = {"n_embd": 16, "n_layer": 2, "n_head": 2, "initializer_range": 0.7}
    config = GPT2Config(vocab_size=13, n_positions=24, bos_token_id=0, eos_token_id=0, **sizes)
    theirs = GPT2LMHeadModel(config).eval()
    prompt = torch.randint(13, (6, 3), generator=torch.Generator().manual_seed(0))
    options = {"do_sample": False, "eos_token_id": None, "pad_token_id": 0, "num_beams": beams}
    seen = torch.ones_like(prompt)
    expected = theirs.generate(prompt, attention_mask=seen, max_new_tokens=12, **options)
    ours = gpt_from_hf(theirs)
    text = generate(ours, prompt, 12, beams=beams)
    assert torch.equal(text, expected)
    assert not torch.equal(text, generate(ours, prompt, 12, temperature=0))


# properties


def test_one_beam_is_greedy():
    model = gpt()
    assert torch.equal(
        generate(model, PROMPT, 9, beams=1, temperature=0),
        generate(model, PROMPT, 9, temperature=0, cache=False),
    )


def test_it_finds_a_text_that_greedy_misses_and_none_less_probable():
    gains = []
    for seed in range(8):
        model = gpt(seed)
        greedy = generate(model, PROMPT, 8, temperature=0)
        beam = generate(model, PROMPT, 8, beams=20)
        for a, b in zip(greedy.tolist(), beam.tolist()):
            gains.append(log_probability(model, b, 2) - log_probability(model, a, 2))
    assert min(gains) > -1e-5 and max(gains) > 0.3


def test_the_cache_changes_nothing():
    for stop in (None, 2):
        with_cache = generate(gpt(), PROMPT, 20, beams=4, stop=stop)
        assert torch.equal(with_cache, generate(gpt(), PROMPT, 20, beams=4, stop=stop, cache=False))


def test_rows_do_not_depend_on_each_other():
    together = generate(gpt(), PROMPT, 12, beams=3)
    for row, prompt in zip(together, PROMPT):
        assert torch.equal(generate(gpt(), prompt[None], 12, beams=3)[0], row)


def test_a_stopped_text_keeps_its_probability_and_ends_the_search_when_all_have_stopped():
    class Table:  # 0 or 1 first; after 0 surely the stop 2, after 1 many ways
        def __call__(self, ids):
            p = torch.tensor([[0.4, 0.6, 0.0], [0.35, 0.35, 0.3], [1 / 3] * 3])
            p[0] = torch.tensor([0.0, 0.0, 1.0])
            first = torch.tensor([0.4, 0.6, 0.0])
            rows = p[ids]
            rows[:, 0] = first
            return rows.log()

    start = torch.tensor([[1]])
    assert generate(Table(), start, 2, temperature=0, stop=2).tolist()[0][:2] == [1, 1]  # greedy
    assert generate(Table(), start, 6, beams=4, stop=2).tolist()[0][:3] == [1, 0, 2]  # 0.4


def test_a_repetition_penalty_moves_beams_to_other_tokens():
    plain = generate(gpt(), PROMPT, 12, beams=3)
    punished = generate(gpt(), PROMPT, 12, beams=3, repetition_penalty=10.0)
    different = lambda text: sum(len(set(row)) for row in text[:, 2:].tolist())  # noqa: E731
    assert different(punished) > different(plain)


# refuses


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"beams": 0}, "beams is 0: keep at least one"),
        ({"beams": 3, "temperature": 0.7}, "3 beams take the most probable text and draw nothing"),
        ({"beams": 3, "top_k": 5}, "leave temperature, top_k, top_p and draft out"),
        ({"beams": 3, "draft": gpt()}, "leave temperature, top_k, top_p and draft out"),
    ],
)
def test_settings_that_contradict_beams_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        generate(gpt(), PROMPT, 3, **settings)
