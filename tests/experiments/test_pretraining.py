"""Tests of mini_models.experiments.pretraining: what a misprint is, and when it counts as found."""

import pytest
import torch
from torch import nn

from mini_models.experiments.pretraining import misprints, spoilt, whole_of
from mini_models.tokenizers import SPECIAL, WordPiece

LETTERS = WordPiece([*SPECIAL, "，", *"abcdefgh"])
A, COMMA, PAD = LETTERS.encode("a")[0], LETTERS.encode("，")[0], 0


def rows(n=200, seed=0):
    """Texts of mostly a, with a comma each, padded."""
    draw = torch.Generator().manual_seed(seed)
    ids = torch.randint(A, A + 8, (n, 12), generator=draw)
    often = torch.rand(ids.shape, generator=draw) < 0.7
    ids = torch.where(often, A, ids)
    ids[:, 5], ids[::2, 9:] = COMMA, PAD
    return ids


class Knows(nn.Module):
    """Is sure of the texts that it was given, whatever it sees."""

    def __init__(self, ids):
        super().__init__()
        self.ids, self.scale, self.at = ids, nn.Parameter(torch.tensor(9.0)), 0

    def forward(self, ids, attend):
        assert torch.equal(attend, ids != PAD)
        truth = self.ids[self.at : self.at + len(ids)]
        self.at += len(ids)
        return self.scale * nn.functional.one_hot(truth, LETTERS.vocab_size), None


def test_one_character_of_each_row_is_another_and_nothing_else_changes():
    ids = rows()
    changed, where = spoilt(ids, LETTERS)
    differs = changed != ids
    assert (differs.sum(dim=1) == 1).all()
    assert torch.equal(differs.float().argmax(dim=1), where)
    assert (changed[differs] >= A).all() and (ids[differs] >= A).all()
    assert len(where.unique()) == 11  # every place but the comma's


def test_misprints_are_as_frequent_as_the_characters_themselves():
    ids = rows(4000)
    changed, where = spoilt(ids, LETTERS)
    lines = torch.arange(len(ids))
    old, new = ids[lines, where], changed[lines, where]
    after_b = new[old == A + 1]  # "a" is nearly three in four of what a "b" may become
    assert 0.68 < (after_b == A).float().mean() < 0.84


def test_the_same_seed_spoils_the_same_places():
    for seed, same in ((0, True), (1, False)):
        assert torch.equal(spoilt(rows(), LETTERS)[1], spoilt(rows(), LETTERS, seed)[1]) is same


def test_who_knows_the_texts_finds_every_misprint_and_who_knows_others_few():
    ids = rows()
    assert misprints(Knows(ids), ids, LETTERS).all()
    assert misprints(Knows(rows(seed=1)), ids, LETTERS).float().mean() < 0.5


def test_a_batch_is_made_whole_from_its_targets():
    inputs, targets = torch.tensor([[2, 4, 7]]), torch.tensor([[-100, 6, -100]])
    assert whole_of((inputs, None, None, None, targets)).tolist() == [[2, 6, 7]]


def test_rows_of_one_character_are_refused():
    with pytest.raises(ValueError, match="1 different characters"):
        spoilt(torch.full((2, 3), A), LETTERS)
