"""Tests of mini_models.finetune.heads: one loss for three heads, padding that nobody sees, a
frozen body that stays as it is, and heads that learn."""

import copy
import random

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from mini_models.bert import BERT, BERTConfig
from mini_models.data.labelled import Labelled, Tagged
from mini_models.data.squad import Question
from mini_models.finetune import (
    ExampleBatches,
    FineTuned,
    SequenceHead,
    SpanHead,
    TokenHead,
    collate,
    finetune,
    finetune_loss,
    predict,
)
from mini_models.finetune.examples import (
    Example,
    answers_of,
    of_questions,
    of_texts,
    of_words,
    tags_of,
)
from mini_models.tokenizers import SPECIAL, WordPiece
from mini_models.train import TrainConfig

WORDS = ["red", "blue", "cat", "dog", "sees", "has", "ann", "ben", "who", "what"]
TOKENIZER = WordPiece([*SPECIAL, *WORDS])
SMALL = BERTConfig(TOKENIZER.vocab_size, 16, n_layers=2, n_heads=2, d_model=16)
HEADS = {
    "class": lambda: SequenceHead(16, 3),
    "tokens": lambda: TokenHead(16, 3),
    "span": lambda: SpanHead(16),
}


def model_for(kind, seed=0):
    torch.manual_seed(seed)
    model = FineTuned(BERT(SMALL), HEADS[kind]())
    for p in model.parameters():  # none of them 0 or 1, so that each counts
        p.data += 0.2 * torch.randn_like(p)
    return model


def examples_for(kind, n=12, seed=0):
    """Random examples of different lengths, with two segments and targets of one kind."""
    draw, found = random.Random(seed), []
    for i in range(n):
        T = draw.randrange(4, 12)
        ids = [2, *draw.choices(range(5, 5 + len(WORDS)), k=T - 2), 3]
        target = {
            "class": draw.randrange(3),
            "tokens": [-100, *draw.choices([-100, 0, 1, 2], k=T - 3), 1, -100],
            "span": sorted(draw.choices(range(T), k=2)),
        }[kind]
        found.append(Example(ids, [0] * 2 + [1] * (T - 2), target, i))
    return found


# agrees with an independent implementation


def test_the_loss_is_the_mean_cross_entropy_of_what_is_asked_counted_one_by_one():
    for kind in HEADS:
        model, rows = model_for(kind).eval(), examples_for(kind)
        logits, nats = predict(model, rows), []
        for row, found in zip(rows, logits):
            if kind == "class":
                asked = [(found, row.target)]
            elif kind == "tokens":
                asked = [(x, t) for x, t in zip(found, row.target) if t != -100]
            else:
                asked = list(zip(found, row.target))
            nats += [-x.log_softmax(dim=0)[t] for x, t in asked]
        loss = finetune_loss(model, collate(rows))
        assert_close(loss, torch.stack(nats).mean(), msg=kind)


@pytest.mark.parametrize("kind", HEADS)
def test_a_step_is_the_one_written_out(kind):
    rows = examples_for(kind, 6)
    ours, theirs = model_for(kind), model_for(kind)
    before = [p.detach().clone() for p in ours.parameters()]
    config = TrainConfig(1, 1e-2, warmup=0, schedule="constant", weight_decay=0, precision="fp32")
    (told,) = finetune(ours, rows, config, batch_size=6)

    *inputs, targets = ExampleBatches(rows, 6, config.seed)[0]
    axis = {"class": 1, "tokens": 2, "span": 2}[kind]  # of what one is chosen from
    loss = F.cross_entropy(theirs(*inputs).movedim(axis, 1), targets)
    unused = {"materialize_grads": True}  # two of the heads ask nothing of the pooler
    gradients = torch.autograd.grad(loss, [*theirs.parameters()], **unused)
    norm = torch.stack([g.norm() for g in gradients]).norm()
    assert_close(told, loss.item())
    for mine, old, gradient in zip(ours.parameters(), before, gradients):
        clear = gradient.abs() > 1e-4  # Adam's first step is its rate times the sign
        gradient = gradient / norm.clamp(min=1)
        new = old - config.lr * gradient / (gradient.abs() + 1e-8)
        assert_close(mine[clear], new[clear], atol=2e-5, rtol=0)


@pytest.mark.parametrize("kind", HEADS)
def test_an_example_among_others_has_the_logits_that_it_has_alone(kind):
    model, rows = model_for(kind), examples_for(kind, 40)
    together = predict(model, rows, batch_size=7)
    with torch.no_grad():
        for row, found in zip(rows, together):
            ids, segments = torch.tensor([row.ids]), torch.tensor([row.segment_ids])
            alone = model.eval()(ids, segments, torch.ones_like(ids, dtype=torch.bool))[0]
            assert found.shape == alone.shape
            assert_close(found, alone, atol=1e-5, rtol=1e-5)


# properties


def test_the_heads_give_a_row_a_row_for_each_token_or_two_rows_of_places():
    ids, segments, attend, _ = collate(examples_for("class", 5))
    T = ids.shape[1]
    for kind, shape in {"class": (5, 3), "tokens": (5, T, 3), "span": (5, 2, T)}.items():
        assert model_for(kind)(ids, segments, attend).shape == shape


def test_a_class_is_read_off_the_pooled_vector_and_nothing_else():
    """tanh of a linear map of the first position's vector: Devlin et al. 2019, section 4.1."""
    model, (*inputs, _) = model_for("class"), collate(examples_for("class", 5))
    first = model.body(*inputs)[:, 0]
    pooled = torch.tanh(first @ model.body.pooler.weight.T + model.body.pooler.bias)
    out = model.head.out
    assert_close(model(*inputs), pooled @ out.weight.T + out.bias)


def test_a_head_is_one_linear_map():
    counts = {kind: sum(p.numel() for p in head().parameters()) for kind, head in HEADS.items()}
    assert counts == {"class": 3 * 17, "tokens": 3 * 17, "span": 2 * 17}


def test_an_answer_never_begins_or_ends_in_padding():
    rows = examples_for("span", 8)
    *inputs, _ = collate(rows)
    p = model_for("span")(*inputs).softmax(dim=-1)
    assert (p.transpose(1, 2)[~inputs[2]] == 0).all() and not inputs[2].all()
    assert_close(p.sum(dim=-1), torch.ones(8, 2))


def test_a_frozen_body_stays_bit_for_bit_and_a_tuned_one_does_not():
    for frozen in (True, False):
        model = model_for("class")
        before = copy.deepcopy(model.state_dict())
        finetune(model, examples_for("class"), TrainConfig(steps=3, warmup=0), 4, frozen)
        moved = {name for name, p in model.state_dict().items() if not torch.equal(p, before[name])}
        assert {name for name in moved if name.startswith("head")} == {
            "head.out.weight", "head.out.bias"
        }  # fmt: skip
        in_body = {name for name in moved if name.startswith("body")}
        assert not in_body if frozen else len(in_body) > 20


def test_a_body_that_was_frozen_can_be_tuned_afterwards():
    model, rows = model_for("class"), examples_for("class")
    finetune(model, rows, TrainConfig(steps=1, warmup=0), 4, frozen=True)
    before = model.body.tokens.weight.clone()
    finetune(model, rows, TrainConfig(steps=1, warmup=0), 4)
    assert not torch.equal(model.body.tokens.weight, before)


def test_every_example_comes_once_an_epoch_and_a_step_is_always_the_same():
    rows = examples_for("class", 23)
    for seed in (0, 1, None):
        batches = ExampleBatches(rows, 5, seed)
        assert len(batches) == 5
        epochs = [[i for batch in batches.order(e) for i in batch] for e in range(3)]
        assert all(sorted(epoch) == list(range(23)) for epoch in epochs)
        assert (epochs[0] == epochs[1]) is (seed is None)
    one, other = ExampleBatches(rows, 5, 3), ExampleBatches(rows, 5, 3)
    late = other[12]  # asked for first: what came before does not matter
    for step in range(12):
        one[step]
    for mine, theirs in zip(one[12], late):
        assert torch.equal(mine, theirs)
    assert ExampleBatches(rows, 5, 4).order(0) != one.order(0)


def test_a_batch_is_padded_to_its_longest_and_holds_examples_of_similar_length():
    rows = examples_for("tokens", 200)
    batches, wasted = ExampleBatches(rows, 4), 0
    for step in range(len(batches)):
        ids, segments, attend, targets = batches[step]
        assert ids.shape == segments.shape == attend.shape == targets.shape
        assert attend.sum(dim=1).max() == ids.shape[1]
        assert (ids[~attend] == 0).all() and (targets[~attend] == -100).all()
        wasted += int((~attend).sum())
    everything = sum(len(row.ids) for row in rows)
    assert wasted < 0.1 * everything  # in random order it would be a third


def test_predicting_leaves_a_model_in_the_mode_that_it_was_in():
    model = model_for("class")
    for mode in (True, False):
        model.train(mode)
        predict(model, examples_for("class", 3))
        assert model.training is mode is model.body.training


# refuses


def test_no_example_is_refused():
    with pytest.raises(ValueError, match="there is no example: give at least one"):
        finetune(model_for("class"), [], TrainConfig(steps=1))


# learns


def tuned(kind, rows, steps=120):
    torch.manual_seed(0)
    heads = {"class": SequenceHead(16, 2), "tokens": TokenHead(16, 3), "span": SpanHead(16)}
    model = FineTuned(BERT(SMALL), heads[kind])
    losses = finetune(model, rows, TrainConfig(steps=steps, lr=5e-3, warmup=10), 32)
    assert losses[-1] < losses[0] / 3
    return model


def test_a_class_is_learned_that_lies_in_the_order_of_the_words():
    draw = random.Random(0)
    texts = []
    for _ in range(300):
        words = ["red", "blue", *draw.choices(["cat", "dog", "sees"], k=draw.randrange(6))]
        draw.shuffle(words)
        first = words.index("red") < words.index("blue")
        texts.append(Labelled(" ".join(words), "red first" if first else "blue first"))
    rows = of_texts(texts, TOKENIZER, ("red first", "blue first"), 16)
    model = tuned("class", rows[:200])
    right = [
        row.target == int(z.argmax()) for row, z in zip(rows[200:], predict(model, rows[200:]))
    ]
    assert sum(right) > 95


def test_labels_of_words_are_learned_that_lie_in_their_neighbours():
    """A colour before ann or ben belongs to the name; before a cat or dog it does not."""
    draw, sentences = random.Random(0), []
    for _ in range(300):
        words, tags = [], []
        for _ in range(3):
            colour, noun = draw.choice(WORDS[:2]), draw.choice(["cat", "dog", "ann", "ben"])
            words += [colour, noun]
            tags += ["B-PER", "I-PER"] if noun in ("ann", "ben") else ["O", "O"]
        sentences.append(Tagged(tuple(words), tuple(tags)))
    tags = ("O", "B-PER", "I-PER")
    rows = of_words(sentences, TOKENIZER, tags, 16)
    model = tuned("tokens", rows[:200])
    found = tags_of(rows[200:], predict(model, rows[200:]), tags)
    assert sum(a == s.tags for a, s in zip(found, sentences[200:])) > 95


def test_spans_are_learned_that_hang_on_the_question():
    """Who? A name. What? A colour and an animal, wherever they stand."""
    draw, questions = random.Random(0), []
    for i in range(500):
        thing = f"{draw.choice(WORDS[:2])} {draw.choice(['cat', 'dog'])}"
        told = {"who": draw.choice(["ann", "ben"]), "what": thing}
        parts = [*told.values(), draw.choice(["sees", "has"])]
        draw.shuffle(parts)
        context, asked = " ".join(parts), draw.choice(["who", "what"])
        answer = (told[asked], context.index(told[asked]))
        questions.append(Question(str(i), asked, context, (answer,)))
    rows = of_questions(questions, TOKENIZER, 16)
    model = tuned("span", rows[:400])
    found = answers_of(rows[400:], predict(model, rows[400:]), questions)
    assert set(found) == {str(i) for i in range(400, 500)}
    assert sum(text == questions[int(i)].texts[0] for i, text in found.items()) > 95
