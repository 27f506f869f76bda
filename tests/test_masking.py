"""Tests of mini_models.masking: counts against the shares of BERT's paper, and exact rules."""

import math

import pytest
import torch

from mini_models.attention import causal_mask
from mini_models.data import IGNORED
from mini_models.masking import MaskedBatches, Masking, mask_tokens, ordinary_ids
from mini_models.tokenizers import SPECIAL, WordPiece

WORDS = WordPiece([*SPECIAL, *(f"w{i}" for i in range(95))])
(PAD,), (UNK,), (CLS,), (SEP,), (MASK,) = map(WORDS.encode, SPECIAL)
ORDINARY = ordinary_ids(WORDS)


def texts(rows, T, seed=0):
    """Rows of [CLS] words [SEP] words [SEP] padding, of different lengths."""
    draw = torch.Generator().manual_seed(seed)
    ids = torch.randint(len(SPECIAL), WORDS.vocab_size, (rows, T), generator=draw)
    for row in ids:
        end = int(torch.randint(5, T, (), generator=draw))
        row[0], row[2], row[end], row[end + 1 :] = CLS, SEP, SEP, PAD
    return ids


def masked(ids, how=None, seed=0):
    return mask_tokens(ids, MASK, ORDINARY, torch.Generator().manual_seed(seed), how or Masking())


class Repeated:
    """Batches that are the same at every step."""

    def __init__(self, ids):
        attend = ids != PAD
        elsewhere = torch.arange(len(ids)) % 2
        self.batch = ids, torch.ones_like(ids), attend, elsewhere

    def __getitem__(self, step):
        return self.batch


def within_chance(hits: int, n: int, p: float) -> bool:
    """Whether hits of n are less than 4.5 standard deviations from n p, 1 in 150,000."""
    return abs(hits - n * p) <= 4.5 * math.sqrt(n * p * (1 - p))


# agrees with an independent implementation


@pytest.mark.parametrize("rate", [0.0, 0.15, 0.4, 1.0])
def test_in_each_row_the_share_is_exact(rate):
    ids = texts(200, 64)
    _, targets = masked(ids, Masking(rate=rate))
    for row, chosen in zip(ids.tolist(), (targets != IGNORED).sum(dim=1).tolist()):
        ordinary = sum(i >= len(SPECIAL) for i in row)
        exact = rate * ordinary
        assert abs(chosen - exact) <= 0.5 + 1e-4 or (chosen == 1 and exact < 1)
        assert chosen >= 1


@pytest.mark.parametrize("how", [Masking(), Masking(0.5, 0.3, 0.6), Masking(0.15, 1.0, 0.0)])
def test_of_the_chosen_so_many_are_hidden_changed_and_kept(how):
    ids = texts(1000, 64)
    inputs, targets = masked(ids, how)
    chosen = targets != IGNORED
    n, was, now = int(chosen.sum()), ids[chosen], inputs[chosen]
    hidden, same = int((now == MASK).sum()), int((now == was).sum())
    assert n > 4000
    assert within_chance(hidden, n, how.masked)
    by_luck = how.random / len(ORDINARY)  # a random token may be the one that stood there
    kept = 1 - how.masked - how.random
    assert within_chance(same, n, kept + by_luck)
    assert within_chance(n - hidden - same, n, how.random - by_luck)


def test_every_place_and_every_replacement_is_equally_likely():
    ids = torch.full((20_000, 20), 50)  # all ordinary, so 3 of 20 in each row
    inputs, targets = masked(ids, Masking(0.15, 0.0, 1.0))
    places = (targets != IGNORED).sum(dim=0)
    assert all(within_chance(n, 20_000, 0.15) for n in places.tolist())
    drawn = inputs[targets != IGNORED].bincount(minlength=WORDS.vocab_size)
    assert (drawn[: len(SPECIAL)] == 0).all()
    assert all(within_chance(n, 60_000, 1 / 95) for n in drawn[len(SPECIAL) :].tolist())


def test_the_ordinary_ids_are_all_but_the_special_ones():
    assert ORDINARY.tolist() == [i for i in range(100) if WORDS.tokens[i] not in SPECIAL]
    mixed = WordPiece(["a", "[UNK]", "##b", "[MASK]", "c"])
    assert ordinary_ids(mixed).tolist() == [0, 2, 4]


def test_without_punctuation_only_letters_digits_and_chinese_characters_are_hidden():
    tokens = [*SPECIAL, "a", ".", "##b", "##’", "7", "东", "，", "é", "...", "o'"]
    tokenizer = WordPiece(tokens)
    assert ordinary_ids(tokenizer).tolist() == [*range(5, 15)]
    assert [tokens[i] for i in ordinary_ids(tokenizer, punctuation=False)] == [
        *("a", "##b", "7", "东", "é", "o'")
    ]
    ids = torch.randint(5, 15, (50, 20), generator=torch.Generator().manual_seed(0))
    how = Masking(1.0, 0.0, 1.0)
    inputs, *_, targets = MaskedBatches(Repeated(ids), tokenizer, how=how, punctuation=False)[0]
    for mark in (6, 8, 11, 13):
        assert torch.equal(inputs == mark, ids == mark) and not (targets == mark).any()
    assert (targets == 5).any() and (inputs != ids).any()


# properties


def test_special_tokens_and_padding_are_never_chosen_or_changed():
    ids = texts(500, 30)
    ids[:, 3] = UNK
    inputs, targets = masked(ids, Masking(rate=1.0))
    special = ids < len(SPECIAL)
    assert (targets[special] == IGNORED).all()
    assert torch.equal(inputs[special], ids[special])
    assert (targets[~special] == ids[~special]).all()


def test_what_is_not_chosen_is_not_changed_and_targets_are_what_stood_there():
    ids = texts(300, 40)
    before = ids.clone()
    inputs, targets = masked(ids)
    chosen = targets != IGNORED
    assert torch.equal(inputs[~chosen], ids[~chosen])
    assert torch.equal(targets[chosen], ids[chosen])
    assert torch.equal(ids, before)  # and the text itself is as it was
    assert inputs.dtype == targets.dtype == torch.int64


def test_a_text_of_one_word_has_it_hidden_and_one_of_none_has_nothing():
    ids = torch.tensor([[CLS, 60, SEP, PAD], [CLS, SEP, PAD, PAD]])
    inputs, targets = masked(ids, Masking(0.15, 1.0, 0.0))
    assert inputs.tolist() == [[CLS, MASK, SEP, PAD], [CLS, SEP, PAD, PAD]]
    assert targets.tolist() == [[IGNORED, 60, IGNORED, IGNORED], [IGNORED] * 4]


def test_a_step_is_hidden_the_same_way_every_time_and_other_steps_another_way():
    ids = texts(20, 40)
    a, b = (MaskedBatches(Repeated(ids), WORDS) for _ in range(2))
    later = a[7]
    for one, other in zip(later, b[7]):
        assert torch.equal(one, other)
    torch.rand(5)  # what others draw does not matter
    assert torch.equal(a[7][0], later[0])
    assert not torch.equal(a[8][4], later[4])
    assert not torch.equal(MaskedBatches(Repeated(ids), WORDS, seed=1)[7][4], later[4])


def test_all_but_the_hidden_tokens_passes_through():
    batches = Repeated(texts(20, 40))
    ids, segments, attend, elsewhere = batches[0]
    inputs, *others, targets = MaskedBatches(batches, WORDS)[3]
    for given, found in zip((segments, attend, elsewhere), others, strict=True):
        assert torch.equal(given, found)
    assert torch.equal(torch.where(targets == IGNORED, inputs, targets), ids)


def test_from_left_to_right_the_same_tokens_are_hidden_and_nobody_sees_what_comes_after():
    batches = Repeated(texts(20, 40))
    both, left = (MaskedBatches(batches, WORDS, left_to_right=flag)[5] for flag in (False, True))
    for i in (0, 1, 3, 4):
        assert torch.equal(both[i], left[i])
    assert left[2].shape == (20, 40, 40) and left[2].dtype == torch.bool
    assert torch.equal(left[2], both[2][:, None] & causal_mask(40))
    for t in range(40):
        assert not left[2][:, t, t + 1 :].any()
        assert torch.equal(left[2][:, t, : t + 1], both[2][:, : t + 1])


def test_another_way_of_hiding_is_used():
    hidden = MaskedBatches(Repeated(texts(50, 40)), WORDS, how=Masking(0.3, 1.0, 0.0))[0]
    chosen = hidden[4] != IGNORED
    assert (hidden[0][chosen] == MASK).all()
    assert chosen.sum() > 0.25 * (hidden[0] >= len(SPECIAL)).sum()


# refuses


@pytest.mark.parametrize(
    "shares",
    [(-0.1, 0.8, 0.1), (1.1, 0.8, 0.1), (0.15, 0.8, 0.3), (0.15, -0.2, 0.1), (0.15, 0.5, -1)],
)
def test_what_is_no_share_is_refused(shares):
    said = f"rate {shares[0]}, masked {shares[1]} and random {shares[2]} are not shares: give"
    with pytest.raises(ValueError, match=said):
        Masking(*shares)


def test_shares_with_a_sum_of_one_are_allowed_whatever_is_rounded():
    assert Masking(1.0, 0.9, 0.1) and Masking(0, 0.7, 0.3) and Masking(0.15, 0.0, 1.0)
