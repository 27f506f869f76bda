"""Tests of mini_models.data: the corpora are what they are said to be, and batches miss nothing."""

import hashlib
import lzma
import re
from collections import Counter
from itertools import islice

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from mini_models.corpora import CORPORA
from mini_models.data import (
    IGNORED,
    Poem,
    SequenceBatches,
    TextBatches,
    other_plays,
    pad,
    shakespeare,
    split,
    tang_quatrains,
    windows,
)
from mini_models.data.shapes import SPLITS, captioned, parse, scenes
from mini_models.train import TrainConfig, train

README = (CORPORA / "README.md").read_text(encoding="utf-8")
NUMBERS = list(range(100))
ROWS = [[1, 2], [3, 4, 5], [6, 7, 8, 9, 10], [11, 12, 13], [14, 15, 16, 17]]


def take(batches, n):
    return [batches[step] for step in range(n)]


# agrees with an independent count


def test_the_plays_are_the_text_that_the_corpora_describe():
    text = shakespeare()
    assert len(text) == 1_165_338 and len(set(text)) == 65
    assert "1,165,338 characters, 65 different ones" in README
    assert "\nROMEO:\n" in text and "But, soft!" in text


@pytest.mark.parametrize(
    "name", ["shakespeare.txt.xz", "gpt2_merges.txt.xz", "bert_uncased_vocab.txt.xz"]
)
def test_a_text_has_the_digest_that_its_description_gives(name):
    begins, ends = re.search(rf"`{name}`.*?sha256[^`]*`(\w+)…(\w+)`", README).groups()
    digest = hashlib.sha256(lzma.decompress((CORPORA / name).read_bytes())).hexdigest()
    assert digest.startswith(begins) and digest.endswith(ends), digest


def test_the_other_plays_have_the_same_characters_and_share_no_long_line_with_what_is_held_out():
    assert len(other_plays()) == 2_989_446
    assert set(other_plays()) <= set(shakespeare())
    held_out = {line for line in split(shakespeare())[1].splitlines() if len(line) > 30}
    assert len(held_out) > 1000 and held_out.isdisjoint(other_plays().splitlines())


def test_every_quatrain_has_four_lines_of_the_length_of_its_form():
    poems = tang_quatrains()
    assert len(poems) == len(set(poems)) == 13_884
    length = {"五绝": 5, "七绝": 7}
    assert Counter(p.form for p in poems).keys() == length.keys()
    for poem in poems:
        assert [len(line) for line in poem.lines] == [length[poem.form]] * 4, poem
        assert poem.title and poem.author and "\n" not in poem.text
    assert sum(p.author == "李白" for p in poems) > 30


def test_the_corpora_fit_their_budget():
    assert sum(path.stat().st_size for path in CORPORA.iterdir()) < 14_000_000


def test_an_epoch_of_text_batches_equals_windows_cut_by_hand():
    batches = TextBatches(NUMBERS, context_length=7, batch_size=1, seed=3)
    epoch = take(batches, batches.n_windows)
    first = min(int(inputs[0, 0]) for inputs, _ in epoch)
    starts = sorted(int(inputs[0, 0]) for inputs, _ in epoch)
    assert starts == [first + 7 * i for i in range(13)]
    for inputs, targets in epoch:
        s = int(inputs[0, 0])
        assert inputs.tolist() == [NUMBERS[s : s + 7]]
        assert targets.tolist() == [NUMBERS[s + 1 : s + 8]]


def test_padding_equals_torchs():
    inputs, targets = pad(ROWS)
    begins = [torch.tensor(row[:-1]) for row in ROWS]
    ends = [torch.tensor(row[1:]) for row in ROWS]
    assert_close(inputs, nn.utils.rnn.pad_sequence(begins, batch_first=True))
    assert_close(targets, nn.utils.rnn.pad_sequence(ends, batch_first=True, padding_value=-100))
    assert nn.CrossEntropyLoss().ignore_index == IGNORED


@pytest.mark.parametrize("n", [2, 7, 8, 9, 14, 15, 16, 100])
@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_windows_hold_every_target_once_behind_its_input(n, batch_size):
    batches = windows(NUMBERS[:n], 7, batch_size)
    inputs = [i for x, _ in batches for row in x.tolist() for i in row]
    targets = [i for _, y in batches for row in y.tolist() for i in row]
    assert inputs == NUMBERS[: n - 1] and targets == NUMBERS[1:n]
    assert all(x.shape == y.shape and 0 < x.shape[1] <= 7 for x, y in batches)
    assert all(len(x) <= batch_size for x, _ in batches)


# properties


@pytest.mark.parametrize("share", [0.1, 0.25])
def test_a_text_is_cut_once_and_its_end_is_held_out(share):
    train_text, held_out = split(shakespeare(), share)
    assert train_text + held_out == shakespeare()
    assert len(held_out) == int(share * len(shakespeare()))
    assert split(shakespeare(), share) == (train_text, held_out)


def test_no_poem_held_out_shares_a_line_with_one_trained_on():
    train_poems, held_out = split(tang_quatrains())
    lines = {line for poem in held_out for line in poem.lines}
    assert len(held_out) == 1388
    assert not [poem for poem in train_poems if lines & set(poem.lines)]
    assert 12_000 < len(train_poems) <= 13_884 - 1388
    assert split(tang_quatrains()) == (train_poems, held_out)
    assert set(train_poems) | set(held_out) <= set(tang_quatrains())
    assert {p.form for p in held_out} == {"五绝", "七绝"}  # both, however the file is sorted


def test_a_variant_of_a_held_out_poem_is_not_trained_on():
    poems = [Poem("五绝", f"{i}", "", f"甲{i}，乙{i}，丙{i // 2}，丁{i}。") for i in range(40)]
    train_poems, held_out = split(poems, 0.25)
    assert len(held_out) == 10
    left_out = [p for p in poems if p not in train_poems and p not in held_out]
    shared = {p.lines[2] for p in held_out}
    assert left_out and all(p.lines[2] in shared for p in left_out)
    assert len(train_poems) == 30 - len(left_out)


def test_the_lines_of_a_poem_come_without_marks():
    poem = Poem("五绝", "静夜思", "李白", "床前明月光，疑是地上霜。举头望明月，低头思故乡。")
    assert poem.lines == ["床前明月光", "疑是地上霜", "举头望明月", "低头思故乡"]
    assert Poem("", "", "", "一？ 二！三；四：五、").lines == list("一二三四五")


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("language", ["en", "zh", "both"])
def test_shapes_are_pictures_of_a_split_with_their_captions(split, language):
    images, captions = captioned(split, 200, seed=3, language=language)
    assert images.shape == (200, 3, 32, 32) and images.dtype == torch.float32
    assert {parse(text) for text in captions} <= set(scenes(split))
    spoken = {"en" if text.isascii() else "zh" for text in captions}
    assert spoken == ({"en", "zh"} if language == "both" else {language})
    again, other = captioned(split, 200, 3, language), captioned(split, 200, 4, language)
    assert torch.equal(again[0], images) and again[1] == captions
    assert not torch.equal(other[0], images) and other[1] != captions


BATCHES = {
    "text": lambda seed: TextBatches(NUMBERS, 7, batch_size=4, seed=seed),
    "sequences": lambda seed: SequenceBatches(ROWS, batch_size=4, seed=seed),
}


@pytest.mark.parametrize("kind", BATCHES)
def test_a_batch_depends_on_its_step_and_seed_alone(kind):
    batches, again, other = (BATCHES[kind](seed) for seed in (0, 0, 1))
    in_order = take(batches, 12)
    torch.manual_seed(99)
    for step in reversed(range(12)):  # as after a resume
        assert_close(again[step], in_order[step])
    assert any(not torch.equal(other[s][0], in_order[s][0]) for s in range(12))
    state = torch.get_rng_state()
    BATCHES[kind](0)[5]
    assert torch.equal(state, torch.get_rng_state())  # draws nothing from torch's own generator


@pytest.mark.parametrize("kind", BATCHES)
def test_inputs_and_targets_are_integers_of_one_shape(kind):
    inputs, targets = BATCHES[kind](0)[3]
    assert inputs.shape == targets.shape and len(inputs) == 4
    assert inputs.dtype == targets.dtype == torch.int64


def test_epochs_begin_at_other_places_and_in_another_order():
    batches = TextBatches(NUMBERS, context_length=7, batch_size=13)
    epochs = [x[:, 0].tolist() for x, _ in take(batches, 8)]  # 13 windows: a step is an epoch
    assert all(len(set(epoch)) == 13 for epoch in epochs)
    assert len({min(epoch) for epoch in epochs}) > 3
    assert all(epoch != sorted(epoch) for epoch in epochs)


def test_every_token_but_the_first_and_some_at_the_end_is_a_target_sooner_or_later():
    batches = TextBatches(NUMBERS, context_length=7, batch_size=13)
    seen = torch.cat([targets.flatten() for _, targets in take(batches, 60)]).unique().tolist()
    assert seen == NUMBERS[1 : len(seen) + 1]
    assert len(seen) >= 99 - 7  # what is left at the end is no whole window


@pytest.mark.parametrize("n", [8, 9, 14, 15, 16, 20])
def test_short_texts_have_whole_windows_too(n):
    for step in range(20):
        inputs, targets = TextBatches(NUMBERS[:n], 7, batch_size=3)[step]
        assert inputs.shape == (3, 7)
        assert_close(targets, inputs + 1)
        assert targets.max() < n


def test_an_epoch_of_sequences_takes_each_of_them_once():
    batches = SequenceBatches(ROWS, batch_size=2)
    rows = [row for inputs, _ in take(batches, 10) for row in inputs.tolist()]
    epochs = iter(rows)
    orders = [tuple(row[0] for row in islice(epochs, 5)) for _ in range(4)]
    assert all(sorted(order) == [1, 3, 6, 11, 14] for order in orders)
    assert len(set(orders)) > 1


def test_what_is_padded_is_never_counted():
    inputs, targets = pad(ROWS)
    counted = targets != IGNORED
    assert counted.sum() == sum(len(row) - 1 for row in ROWS)
    for row, x, y, c in zip(ROWS, inputs, targets, counted):
        assert x[c].tolist() == row[:-1] and y[c].tolist() == row[1:]
        assert (x[~c] == 0).all()


def test_tensors_serve_as_well_as_lists():
    ids = torch.tensor(NUMBERS)
    assert_close(TextBatches(ids, 7, 4)[3], TextBatches(NUMBERS, 7, 4)[3])
    assert_close(windows(ids, 7), windows(NUMBERS, 7))
    assert_close(pad([torch.tensor(row) for row in ROWS]), pad(ROWS))


# refuses


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, 10])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(ValueError, match=f"held_out is {share}: give a share between 0 and 1"):
        split("some text", share)


@pytest.mark.parametrize("n", [0, 1, 7])
def test_a_text_shorter_than_its_context_is_refused(n):
    said = f"the text has {n} tokens: a context of 7 needs at least 8"
    with pytest.raises(ValueError, match=said):
        TextBatches(NUMBERS[:n], 7, 1)


@pytest.mark.parametrize("n", [0, 1])
def test_nothing_to_measure_is_refused(n):
    with pytest.raises(ValueError, match=f"the text has {n} tokens: a context of 1 needs at"):
        windows(NUMBERS[:n], 7)


@pytest.mark.parametrize(
    "rows, said",
    [
        ([], "0 sequences, the shortest of 0 tokens: give at least one, each of two tokens"),
        ([[1, 2], [3]], "2 sequences, the shortest of 1 tokens: give at least one"),
        ([[1, 2], []], "2 sequences, the shortest of 0 tokens"),
    ],
)
def test_sequences_without_a_target_are_refused(rows, said):
    with pytest.raises(ValueError, match=said):
        pad(rows)
    with pytest.raises(ValueError, match=said):
        SequenceBatches(rows, 2)


# learns


@pytest.mark.parametrize("kind", BATCHES)
def test_a_table_of_successors_learns_from_the_batches(kind):
    torch.manual_seed(0)
    table = nn.Embedding(100, 100)  # the next token's logits, for each token

    def loss_of(model, batch):
        return nn.functional.cross_entropy(model(batch[0]).flatten(0, 1), batch[1].flatten())

    config = TrainConfig(steps=80, lr=0.3, warmup=5, precision="fp32", clip=100.0)
    losses = train(table, BATCHES[kind](0), loss_of, config)
    assert losses[0] > 4 and losses[-1] < 0.3
