"""Tests of mini_models.data.batches: what is drawn is drawn again, and batches miss nothing."""

from itertools import islice

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from mini_models.data import IGNORED, SequenceBatches, TextBatches, pad, windows
from mini_models.data.batches import Epochs, RowBatches, draws, seed_of
from mini_models.train import TrainConfig, train

NUMBERS = list(range(100))
ROWS = [[1, 2], [3, 4, 5], [6, 7, 8, 9, 10], [11, 12, 13], [14, 15, 16, 17]]


def take(batches, n):
    return [batches[step] for step in range(n)]


BATCHES = {
    "text": lambda seed: TextBatches(NUMBERS, 7, batch_size=4, seed=seed),
    "sequences": lambda seed: SequenceBatches(ROWS, batch_size=4, seed=seed),
}


# agrees with an independent count


def test_an_epoch_of_text_batches_equals_windows_cut_by_hand():
    batches = TextBatches(NUMBERS, context_length=7, batch_size=1, seed=3)
    epoch = take(batches, batches.n)
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


def test_epochs_take_each_number_once_wherever_a_step_ends():
    numbers = Epochs(10, 4, seed=3)
    taken = [n for step in range(10) for n in numbers[step]]  # four epochs, a step over each end
    epochs = [taken[i : i + 10] for i in range(0, 40, 10)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert Epochs(10, 4, seed=3)[9] == numbers[9] != Epochs(10, 4, seed=4)[9]


def test_rows_of_tensors_stay_together():
    x, y = torch.arange(30.0).view(10, 3), torch.arange(10)
    batches = RowBatches([x, y], 4, seed=1)
    for step in range(5):
        rows, numbers = batches[step]
        assert torch.equal(rows, x[numbers]) and rows.shape == (4, 3)


def test_no_two_steps_of_two_runs_draw_the_same():
    numbers = {seed_of(seed, step) for seed in range(5) for step in range(1000)}
    assert len(numbers) == 5000
    once, again = (torch.rand(3, generator=draws(2, 7)) for _ in "12")
    assert torch.equal(once, again) and not torch.equal(once, torch.rand(3, generator=draws(2, 8)))


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


@pytest.mark.parametrize("n", [0, 1, 7])
def test_a_text_shorter_than_its_context_is_refused(n):
    said = f"the text has {n} tokens: a context of 7 needs at least 8"
    with pytest.raises(ValueError, match=said):
        TextBatches(NUMBERS[:n], 7, 1)


def test_no_row_to_draw_from_is_refused():
    with pytest.raises(ValueError, match="there is no row to draw from: give at least one"):
        Epochs(0, 3)


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
