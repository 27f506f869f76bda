"""Tests of mini_models.decoding.loop: against transformers' generate, and known chances."""

import pytest
import torch
from torch.testing import assert_close
from transformers import GPT2Config, GPT2LMHeadModel

from mini_models.decoding import generate
from mini_models.gpt import GPT, POSITIONS, GPTConfig, gpt_loss
from mini_models.pretrained.convert import gpt_from_hf

V = 11
PROMPT = torch.tensor([[1, 2, 3], [4, 5, 6], [9, 9, 9]])


def gpt(positions="learned", **options):
    """A small GPT with matrices so large that what it writes varies, without close calls."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(V, 24, 2, 2, 16, positions=positions, **options)).eval()
    for name, p in model.named_parameters():
        if "norm" not in name:
            p.data = torch.randn_like(p) * (1 if p.ndim == 2 else 0.5)
    return model


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def draw(*shape, seed=0):
    return 3 * torch.randn(shape, generator=seeded(seed))


class Chain:
    """A model that is a table: the next token depends on the last one alone."""

    def __init__(self, logits):
        self.logits, self.read = logits, 0

    def __call__(self, ids):
        self.read += ids.numel()
        return self.logits[ids]


# agrees with an independent implementation


def test_greedy_writing_equals_that_of_transformers():
    torch.manual_seed(0)
    sizes = {"n_embd": 16, "n_layer": 2, "n_head": 2, "initializer_range": 1.0}
    config = GPT2Config(vocab_size=V, n_positions=24, bos_token_id=0, eos_token_id=0, **sizes)
    theirs = GPT2LMHeadModel(config).eval()
    options = {"do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    prompt = torch.randint(V, (8, 3), generator=seeded())
    seen = torch.ones_like(prompt)
    expected = theirs.generate(prompt, attention_mask=seen, max_new_tokens=21, **options)
    text = generate(gpt_from_hf(theirs), prompt, 21, temperature=0)
    assert torch.equal(text, expected)
    assert (text[:, 3:-1] != text[:, 4:]).sum() > 20  # not one token again and again


def test_pairs_of_tokens_come_as_often_as_the_chain_says():
    chances = torch.tensor([[0.1, 0.6, 0.3], [0.5, 0.0, 0.5], [0.2, 0.7, 0.1]])
    start = torch.zeros(200, 1, dtype=torch.long)
    text = generate(Chain(chances.log()), start, 100, generator=seeded())
    pairs = (3 * text[:, :-1] + text[:, 1:]).flatten().bincount(minlength=9).view(3, 3)
    shares = pairs / pairs.sum(1, keepdim=True)
    assert_close(shares, chances, atol=0.02, rtol=0)
    assert shares[1, 1] == 0


# properties


def test_temperature_zero_takes_the_most_probable_token():
    model, text = gpt(), generate(gpt(), PROMPT, 8, temperature=0)
    assert torch.equal(text[:, 3:], model(text).argmax(-1)[:, 2:-1])
    for same in ({"top_k": 1}, {"top_p": 1e-6}, {"temperature": 1e-4}):
        assert torch.equal(generate(model, PROMPT, 8, generator=seeded(), **same), text), same


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0},
        {},
        {"temperature": 0.8, "top_k": 5},
        {"top_p": 0.8, "repetition_penalty": 1.3},
        {"legal": lambda ids: [t for t in range(V) if t != ids[-1]]},
        {"draft": gpt(), "draft_tokens": 3},
    ],
    ids=["greedy", "plain", "top-k", "nucleus and penalty", "legal", "draft"],
)
def test_the_cache_changes_nothing(positions, settings):
    model = gpt(positions)
    with_cache = generate(model, PROMPT, 21, generator=seeded(), **settings)
    without = generate(model, PROMPT, 21, generator=seeded(), cache=False, **settings)
    assert torch.equal(with_cache, without)
    assert with_cache.shape == (3, 24)  # as long as the context
    assert (with_cache[:, 3:-1] != with_cache[:, 4:]).sum() > 20  # not one token again and again


def test_with_a_cache_every_token_is_read_once():
    model, read = gpt(), []
    model.tokens.register_forward_pre_hook(lambda _, args: read.append(args[0].shape[1]))
    generate(model, PROMPT, 5)
    assert read == [3, 1, 1, 1, 1]
    read.clear()
    generate(model, PROMPT, 5, cache=False)
    assert read == [3, 4, 5, 6, 7]


def test_the_same_generator_writes_the_same_text_and_another_does_not():
    texts = [generate(gpt(), PROMPT, 20, 2.0, generator=seeded(s)) for s in (1, 1, 2)]
    assert torch.equal(texts[0], texts[1]) and not torch.equal(texts[0], texts[2])
    model, before = gpt(), torch.get_rng_state()
    generate(model, PROMPT, 5, generator=seeded())
    assert torch.equal(torch.get_rng_state(), before)  # no other draws than its own


def test_the_prompt_stays_and_no_new_tokens_leave_it_as_it_is():
    prompt = PROMPT.clone()
    assert torch.equal(generate(gpt(), prompt, 9)[:, :3], PROMPT)
    assert torch.equal(generate(gpt(), prompt, 0), PROMPT)
    assert torch.equal(prompt, PROMPT)


def test_greedy_rows_do_not_depend_on_each_other():
    together = generate(gpt(), PROMPT, 12, temperature=0)
    for row, prompt in zip(together, PROMPT):
        assert torch.equal(generate(gpt(), prompt[None], 12, temperature=0)[0], row)


def counter():
    """Counts up and begins again at 0 after V - 1."""
    return Chain(100 * torch.eye(V).roll(1, dims=1))


def test_a_row_that_has_drawn_the_stop_token_repeats_it():
    start = torch.tensor([[2], [7], [5]])
    text = generate(counter(), start, 6, stop=9)
    assert text.tolist() == [
        [2, 3, 4, 5, 6, 7, 8],
        [7, 8, 9, 9, 9, 9, 9],
        [5, 6, 7, 8, 9, 9, 9],
    ]


def test_writing_ends_early_when_all_rows_have_stopped():
    model = counter()
    text = generate(model, torch.tensor([[6], [7]]), 100, stop=9)
    assert text.tolist() == [[6, 7, 8, 9], [7, 8, 9, 9]]
    assert model.read == 2 * (1 + 2 + 3)


def test_a_stop_token_in_the_prompt_does_not_stop():
    assert generate(counter(), torch.tensor([[9]]), 3, stop=9).tolist() == [[9, 10, 0, 1]]


def test_the_mode_of_the_model_comes_back_and_dropout_plays_no_part():
    model = gpt(dropout=0.5).train()
    assert torch.equal(generate(model, PROMPT, 9, 0), generate(gpt(), PROMPT, 9, 0))
    assert model.training
    model.tokens.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        generate(model, PROMPT, 9)
    assert model.training


def test_what_was_written_can_be_trained_on():
    model = gpt()
    text = generate(model, PROMPT, 9)
    stopped = generate(model, PROMPT[:1], 9, stop=int(text[0, 3]), generator=seeded())
    for ids in (text, stopped):
        gpt_loss(model, (ids[:, :-1], ids[:, 1:])).backward()
    assert model.tokens.weight.grad.isfinite().all()


# refuses


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"ids": PROMPT[0]}, r"ids have shape \[3\]: give \[B, T\] with at least one token"),
        ({"ids": PROMPT[:, :0]}, r"ids have shape \[3, 0\]: give \[B, T\]"),
        ({"max_new_tokens": -1}, "max_new_tokens is -1: it cannot be negative"),
        ({"temperature": -0.5}, "temperature is -0.5: use 0 for greedy or a positive number"),
        ({"top_k": 0}, "top_k is 0: keep at least one token"),
        ({"top_p": 0.0}, r"top_p is 0.0: it is a probability in \(0, 1\]"),
        ({"top_p": 1.5}, r"top_p is 1.5: it is a probability in \(0, 1\]"),
        (
            {"temperature": float("nan")},
            "temperature is nan: use 0 for greedy or a positive number",
        ),
        ({"repetition_penalty": 0}, "repetition_penalty is 0: use 1 for none, or a number above 1"),
        ({"ids": PROMPT.float()}, "ids are torch.float32: give whole numbers, torch.int64"),
        ({"ids": PROMPT + 3}, "ids go from 4 to 12: this model knows 0 to 10"),
        (
            {"max_new_tokens": 22},
            "3 tokens and 22 new ones do not fit in a context of 24: ask for at most 21 new",
        ),
        ({"ids": PROMPT.repeat(1, 9)}, "27 tokens and 5 new ones do not fit .* at most 0 new"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        generate(gpt(), **{"ids": PROMPT, "max_new_tokens": 5, **settings})


# learns


def test_a_gpt_learns_to_count_and_counts_on_from_any_number():
    torch.manual_seed(0)
    model = GPT(GPTConfig(V, 24, n_layers=1, n_heads=2, d_model=16, positions="rotary"))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    numbers = (torch.arange(V)[:, None] + torch.arange(13)) % V  # [V, 13]
    for _ in range(60):
        loss = gpt_loss(model, (numbers[:8, :-1], numbers[:8, 1:]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    text = generate(model, numbers[8:, :1], 12, temperature=0)  # first numbers not trained on
    assert torch.equal(text, numbers[8:])
