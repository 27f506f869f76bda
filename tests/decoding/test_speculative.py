"""Tests of mini_models.decoding.speculative: what is guessed is what would have been written."""

from collections import Counter

import pytest
import torch
from scipy.stats import chisquare

from mini_models.decoding import generate
from mini_models.decoding.speculative import Lookup
from mini_models.gpt import GPT, GPTConfig

V = 5
PROMPT = torch.tensor([[1, 2, 3], [4, 0, 1]])


def gpt(seed=0, layers=2, V=V, context=24, size=0.7):
    torch.manual_seed(seed)
    model = GPT(GPTConfig(V, context, layers, 2, 16)).eval()
    for name, p in model.named_parameters():
        if "norm" not in name:
            p.data = torch.randn_like(p) * (size if p.ndim == 2 else 0.5)
    return model


class Table:
    """A model whose next token depends on the last two, drawn at random; counts its readings."""

    def __init__(self, seed, size=1.0):
        self.logits = size * torch.randn(3, 3, 3, generator=torch.Generator().manual_seed(seed))
        self.calls = 0

    def __call__(self, ids):
        self.calls += 1
        before = torch.cat([ids[:, :1], ids[:, :-1]], dim=1)
        return self.logits[before, ids]


def exact(model, prompt, n, **settings):
    """The probability of each of all 3 ** n continuations, by the chain rule."""
    from mini_models.decoding.rules import Rules

    rules, chances = Rules(**settings), {(): 1.0}
    for _ in range(n):
        grown = {}
        for tail, p in chances.items():
            text = torch.tensor([[*prompt, *tail]])
            q = rules.probabilities(rules.scores(model(text)[:, -1], text))[0]
            grown |= {(*tail, t): p * q[t].item() for t in range(3)}
        chances = grown
    return chances


# agrees with an independent implementation


@pytest.mark.parametrize("batch", [1, 3])  # 3 at a time go on together
@pytest.mark.parametrize(
    "settings",
    [{}, {"temperature": 0.7}, {"top_k": 2}, {"top_p": 0.8}, {"repetition_penalty": 1.5}],
)
def test_texts_come_as_often_as_plain_sampling_would_bring_them(batch, settings):
    """Chi-square of 3,000 texts of four tokens against the chances of all 81."""
    model, draft, n = Table(0), Table(1), 3000
    chances = exact(model, [0, 1], 4, **settings)
    draws, counts = torch.Generator().manual_seed(7), Counter()
    ids = torch.tensor([[0, 1]] * batch)
    for _ in range(n // batch):
        text = generate(model, ids, 4, draft=draft, draft_tokens=2, generator=draws, **settings)
        counts.update(tuple(row[2:]) for row in text.tolist())
    assert all(chances[tail] > 0 for tail in counts)
    likely = [tail for tail, p in chances.items() if n * p >= 5]
    seen = [counts[tail] for tail in likely]
    expected = [n * chances[tail] for tail in likely]
    if (rest := n - sum(expected)) > 1:  # the rare ones together
        seen, expected = [*seen, n - sum(seen)], [*expected, rest]
    assert chisquare(seen, expected, sum_check=False).pvalue > 0.001


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("draft_tokens", [1, 2, 4, 50])
def test_greedy_with_a_draft_writes_what_greedy_writes(draft_tokens, cache):
    model = gpt()
    expected = generate(model, PROMPT, 21, temperature=0, lookup=False, cache=cache)
    for draft in (gpt(1, layers=1), model):
        text = generate(
            model, PROMPT, 21, temperature=0, draft=draft, draft_tokens=draft_tokens, cache=cache
        )
        assert torch.equal(text, expected)


@pytest.mark.parametrize("stop", [None, 2])
@pytest.mark.parametrize("seed", range(12))
def test_greedy_with_lookup_writes_what_greedy_writes(seed, stop):
    model = gpt(seed, context=120, size=0.3 + 0.05 * seed)
    for prompt in PROMPT:
        options = {"temperature": 0, "stop": stop}
        expected = generate(model, prompt[None], 117, lookup=False, **options)
        assert torch.equal(generate(model, prompt[None], 117, **options), expected)


# properties


def test_a_draft_that_is_the_model_itself_is_always_right_and_saves_readings():
    model = Table(0)
    generate(model, PROMPT[:1, :2] % 3, 20, draft=Table(0), draft_tokens=4)
    assert model.calls == 4  # 5 tokens a reading
    other = Table(0)
    generate(other, PROMPT[:1, :2] % 3, 20, draft=Table(1, size=3.0), draft_tokens=4)
    assert 4 < other.calls <= 20


def test_a_loop_is_looked_up_and_costs_few_readings():
    model = gpt(context=240)
    model.tokens.register_forward_pre_hook(lambda _, args: read.append(args[0].shape[1]))
    read = []
    plain = generate(model, PROMPT[:1], 230, temperature=0, lookup=False)
    assert len(read) == 230
    assert len(set(map(tuple, plain[0].unfold(0, 12, 1).tolist()))) < 120  # it does loop
    read.clear()
    assert torch.equal(generate(model, PROMPT[:1], 230, temperature=0), plain)
    assert len(read) < 115


def test_lookup_guesses_what_followed_the_latest_tokens_before():
    guess = Lookup()
    found, chances = guess.propose(torch.tensor([[1, 2, 3, 4, 5, 1, 2, 3]]), 10)
    assert found.tolist() == [[4, 5]] and chances is None  # two at first
    guess.learn(2, 2, 11)
    longer = torch.tensor([[1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 1]])
    assert guess.propose(longer, 10)[0].tolist() == [[2, 3, 4, 5]]  # then twice as many
    assert guess.propose(longer, 3)[0].tolist() == [[2, 3, 4]]  # no more than there is room for
    guess.learn(4, 0, 12)
    assert guess.propose(torch.cat([longer, longer], 1), 10)[0].shape == (1, 2)
    assert guess.propose(torch.tensor([[9, 9, 8]]), 10)[0].shape == (1, 0)  # nothing like it
    period = torch.tensor([[7, 8, 7, 8, 7, 8]])
    fresh = Lookup()
    fresh.n = 6
    assert fresh.propose(period, 10)[0].tolist() == [[7, 8, 7, 8, 7, 8]]  # a loop goes on


def test_rows_that_have_stopped_repeat_the_stop_token():
    model, draft = gpt(), gpt(1)
    for seed in range(5):
        draws = torch.Generator().manual_seed(seed)
        text = generate(model, PROMPT, 20, 1.5, draft=draft, stop=2, generator=draws)[:, 3:]
        for row in text.tolist():
            if 2 in row:
                assert set(row[row.index(2) :]) == {2}
        assert (text[:, :-1] == 2).all(dim=1).sum() < 2  # ends as soon as all have


def test_a_draft_follows_the_same_law():
    even = lambda ids: [0, 2, 4] if len(ids) % 2 else [1, 3]  # noqa: E731
    for temperature in (0.0, 1.0):
        draws = torch.Generator().manual_seed(0)
        settings = {"temperature": temperature, "legal": even, "generator": draws}
        text = generate(gpt(), PROMPT, 20, draft=gpt(1), **settings)[:, 3:]
        assert (text[:, 0::2] % 2 == 0).all() and (text[:, 1::2] % 2 == 1).all()


def test_the_modes_of_both_models_come_back():
    model, draft = gpt().train(), gpt(1).train()
    generate(model, PROMPT, 5, draft=draft)
    assert model.training and draft.training


# refuses


def test_a_draft_that_cannot_serve_is_refused():
    with pytest.raises(ValueError, match="draft_tokens is 0: guess at least one"):
        generate(gpt(), PROMPT, 5, draft=gpt(), draft_tokens=0)
    with pytest.raises(ValueError, match="do not fit in a context of 6"):
        generate(gpt(), PROMPT, 5, draft=gpt(context=6))
    with pytest.raises(ValueError, match="the draft knows 7 tokens and the model 5"):
        generate(gpt(), PROMPT, 5, draft=gpt(V=7))
