"""Tests of mini_models.bert: against transformers' BERT, loops by hand, and what it learns."""

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close
from transformers import BertConfig, BertForPreTraining

from mini_models.attention import causal_mask
from mini_models.bert import (
    BERT,
    BERT_BASE,
    BERT_BASE_CASED,
    BERT_BASE_CHINESE,
    BERT_LARGE,
    BERTConfig,
    BERTForPretraining,
    fill,
    pretraining_loss,
    restoration,
)
from mini_models.data import IGNORED
from mini_models.data.prose import Document, PairBatches
from mini_models.layers import LayerNorm, sinusoidal_positions
from mini_models.masking import MaskedBatches
from mini_models.pretrained.convert import bert_from_hf
from mini_models.scaling import n_params, pretraining_head_params
from mini_models.tokenizers import SPECIAL, WordPiece
from mini_models.train import TrainConfig, train

SMALL = BERTConfig(vocab_size=37, context_length=13, n_layers=3, n_heads=2, d_model=16)
PUBLISHED = {  # parameters as Hugging Face counts them
    BERT_BASE: 109_482_240,
    BERT_LARGE: 335_141_888,
    BERT_BASE_CHINESE: 102_267_648,
    BERT_BASE_CASED: 108_310_272,
}
LETTERS = [*SPECIAL, *"abcdefgh"]


def drawn(model):
    """None of its parameters is 0 or 1, so that each of them counts."""
    torch.manual_seed(0)
    for p in model.parameters():
        p.data += 0.3 * torch.randn_like(p)
    return model.eval()


def batch_for(config, rows=5, seed=0):
    """Masked ids with segments, padding and pairs, as `MaskedBatches` gives them."""
    draw = torch.Generator().manual_seed(seed)
    T = config.context_length
    ids = torch.randint(1, config.vocab_size, (rows, T), generator=draw)  # no [PAD] inside
    segments = (torch.arange(T) >= T // 2).long().repeat(rows, 1)
    attend = torch.arange(T) < torch.arange(T, T - 2 * rows, -2)[:, None].clamp(min=3)  # [B, T]
    ids = ids.where(attend, 0)
    targets = ids.masked_fill((torch.rand(rows, T, generator=draw) > 0.4) | ~attend, IGNORED)
    inputs = torch.where(targets != IGNORED, 4, ids)
    elsewhere = torch.randint(2, (rows,), generator=draw)
    return inputs, segments, attend, elsewhere, targets


def theirs_for(c: BERTConfig):
    return BertConfig(
        vocab_size=c.vocab_size, max_position_embeddings=c.context_length,
        hidden_size=c.d_model, num_hidden_layers=c.n_layers, num_attention_heads=c.n_heads,
        intermediate_size=c.d_ff or 4 * c.d_model, type_vocab_size=c.n_segments,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip


@pytest.fixture(scope="module")
def both():
    """transformers' model with both heads, and ours with the same weights."""
    torch.manual_seed(0)
    theirs = drawn(BertForPreTraining(theirs_for(SMALL)))
    return bert_from_hf(theirs), theirs


@pytest.fixture(scope="module")
def letters():
    return WordPiece(LETTERS)


# agrees with an independent implementation


def test_the_loss_is_that_of_transformers(both):
    ours, theirs = both
    inputs, segments, attend, elsewhere, targets = batch = batch_for(SMALL)
    expected = theirs(
        inputs, attend.long(), segments, labels=targets, next_sentence_label=elsewhere
    ).loss
    assert_close(pretraining_loss(ours, batch), expected)
    assert expected > 1


def test_the_gradient_of_every_parameter_is_that_of_transformers(both):
    ours, theirs = both
    inputs, segments, attend, elsewhere, targets = batch = batch_for(SMALL)
    ours.zero_grad(), theirs.zero_grad()
    pretraining_loss(ours, batch).backward()
    theirs(
        inputs, attend.long(), segments, labels=targets, next_sentence_label=elsewhere
    ).loss.backward()
    for p in theirs.parameters():
        p.data, p.back = p.grad, p.data  # let the converter carry the gradients over
    gradients = dict(bert_from_hf(theirs).named_parameters())
    for p in theirs.parameters():
        p.data = p.back
    for name, p in ours.named_parameters():
        assert_close(p.grad, gradients[name], atol=1e-5, rtol=1e-4, msg=lambda m, n=name: n + m)
    assert all(p.grad.abs().max() > 1e-4 for p in ours.parameters())


@pytest.mark.parametrize("T", [1, 2, 12, 13])
def test_any_length_up_to_the_context_gives_the_vectors_of_transformers(both, T):
    ours, theirs = both
    ids, segments, attend, *_ = (t[:, :T] for t in batch_for(SMALL)[:3])
    expected = theirs.bert(ids, attend.long(), segments)
    hidden = ours.bert(ids, segments, attend)
    assert_close(hidden[attend], expected.last_hidden_state[attend], atol=1e-5, rtol=1e-5)
    assert_close(ours.bert.pooled(hidden), expected.pooler_output, atol=1e-5, rtol=1e-5)
    first = theirs.bert(ids).last_hidden_state  # no segments given, nothing hidden
    assert_close(ours.bert(ids), first, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("config, count", PUBLISHED.items(), ids=["base", "large", "zh", "cased"])
def test_the_published_sizes_have_their_parameters(config, count):
    with torch.device("meta"):
        body, whole = BERT(config), BERTForPretraining(config)
    assert sum(p.numel() for p in body.parameters()) == n_params(config) == count
    heads = pretraining_head_params(config)
    assert sum(p.numel() for p in whole.parameters()) == count + heads


def test_what_each_variance_is_kept_above_zero_by_is_that_of_transformers():
    norms = [m for m in BERTForPretraining(SMALL).modules() if isinstance(m, LayerNorm)]
    assert len(norms) == 2 + 2 * SMALL.n_layers
    assert {norm.eps for norm in norms} == {BertConfig().layer_norm_eps}


def test_restoration_equals_a_loop_over_every_hidden_token(both):
    model, _ = both
    batches = [batch_for(SMALL, seed=seed) for seed in range(3)]
    nats, first, five, pairs = [], [], [], []
    for inputs, segments, attend, elsewhere, targets in batches:
        logits, follows = model(inputs, segments, attend)
        for row, col in zip(*(targets != IGNORED).nonzero(as_tuple=True)):
            p = logits[row, col].softmax(dim=-1).tolist()
            best = sorted(range(len(p)), key=lambda i: -p[i])
            nats.append(-math.log(p[targets[row, col]]))
            first.append(best[0] == targets[row, col])
            five.append(targets[row, col] in best[:5])
        pairs += [(a > b) == (e == 0) for (a, b), e in zip(follows.tolist(), elsewhere.tolist())]
    means = [float(sum(x)) / len(x) for x in (nats, first, five, pairs)]
    found = restoration(model, batches)
    assert list(found) == ["held_out", "accuracy", "top5", "follows"]
    assert list(found.values()) == pytest.approx(means, rel=1e-4)
    assert 0 < means[2] < 1 and 0 < means[3] < 1


def test_filling_in_gives_the_best_of_the_softmax_over_the_whole_text(letters):
    model = drawn(BERTForPretraining(dataclasses.replace(SMALL, vocab_size=len(LETTERS))))
    found = fill(model, letters, "a [MASK] c [MASK]", k=3)
    ids = torch.tensor([[2, 5, 4, 7, 4, 3]])
    p = model(ids)[0][0].softmax(dim=-1)
    for place, row in zip((2, 4), found):
        best = sorted(range(len(LETTERS)), key=lambda i: -p[place, i])[:3]
        assert [token for token, _ in row] == [LETTERS[i] for i in best]
        assert [q for _, q in row] == pytest.approx(p[place, best].tolist())
    assert len(found) == 2


# properties


def test_a_pair_whose_origin_is_not_counted_leaves_the_loss_of_the_tokens(both):
    model, _ = both
    inputs, segments, attend, elsewhere, targets = batch_for(SMALL)
    alone = pretraining_loss(
        model, (inputs, segments, attend, torch.full_like(elsewhere, IGNORED), targets)
    )
    logits, _ = model(inputs, segments, attend)
    assert_close(alone, F.cross_entropy(logits.flatten(0, 1), targets.flatten()))
    nothing = torch.full_like(targets, IGNORED)
    counted = pretraining_loss(model, (inputs, segments, attend, elsewhere, nothing))
    _, follows = model(inputs, segments, attend)
    assert_close(counted, F.cross_entropy(follows, elsewhere))
    without = torch.full_like(elsewhere, IGNORED)
    assert pretraining_loss(model, (inputs, segments, attend, without, nothing)) == 0
    assert "follows" not in restoration(model, [(inputs, segments, attend, without, targets)])


def test_predicting_some_positions_gives_the_logits_that_predicting_all_does(both):
    model, _ = both
    inputs, segments, attend, _, targets = batch_for(SMALL)
    where = targets != IGNORED
    some, follows = model(inputs, segments, attend, where)
    every, same = model(inputs, segments, attend)
    assert some.shape == (where.sum(), SMALL.vocab_size)
    assert_close(some, every[where])
    assert_close(follows, same)


def test_what_stands_in_the_padding_changes_nothing(both):
    model, _ = both
    inputs, segments, attend, *_ = batch_for(SMALL)
    other = torch.where(attend, inputs, (inputs + 7) % SMALL.vocab_size)
    a, b = (model.bert(ids, segments, attend) for ids in (inputs, other))
    assert_close(a[attend], b[attend])
    assert not torch.allclose(a, b)
    row, n = 2, int(attend[2].sum())
    alone = model.bert(inputs[row : row + 1, :n], segments[row : row + 1, :n])
    assert_close(a[row, :n], alone[0])


def test_it_looks_to_both_sides_and_from_left_to_right_only_to_one(both):
    model, _ = both
    ids = torch.arange(SMALL.context_length)[None] + 5
    changed = ids.clone()
    changed[0, 8] = 30
    everything = torch.ones_like(ids, dtype=torch.bool)
    left = everything[:, None] & causal_mask(ids.shape[1])
    for attend, moved in ((None, range(13)), (everything, range(13)), (left, range(8, 13))):
        before, after = (model(x, attend=attend)[0][0] for x in (ids, changed))  # [T, V]
        apart = (before - after).abs().amax(dim=1) > 1e-4
        assert apart.nonzero().flatten().tolist() == list(moved)


def test_the_order_of_words_and_the_passage_of_each_matter(both):
    model, _ = both
    ids = torch.arange(6)[None] + 5
    plain = model.bert(ids)
    assert_close(plain, model.bert(ids, torch.zeros_like(ids)))
    assert not torch.allclose(plain, model.bert(ids, torch.ones_like(ids)), atol=0.1)
    turned = model.bert(ids.flip(1)).flip(1)
    assert not torch.allclose(plain, turned, atol=0.1)


def test_the_embedding_is_the_output_layer_and_every_parameter_learns(both):
    model = BERTForPretraining(SMALL)
    assert not any(p.shape == (37, 16) for n, p in model.named_parameters() if "tokens" not in n)
    with torch.no_grad():
        before = model.token_logits(torch.ones(1, 16))
        model.bert.tokens.weight[3] += 1
        after = model.token_logits(torch.ones(1, 16))
    assert (before != after)[0].nonzero().flatten().tolist() == [3]
    pretraining_loss(model, batch_for(SMALL)).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_dropout_acts_in_training_only():
    model = BERT(dataclasses.replace(SMALL, dropout=0.5))
    ids = torch.arange(10)[None]
    assert not torch.equal(model(ids), model(ids))
    model.eval()
    assert torch.equal(model(ids), model(ids))


def test_measuring_leaves_the_mode_of_the_model_as_it_was():
    model = BERTForPretraining(dataclasses.replace(SMALL, dropout=0.5))
    batches = [batch_for(SMALL)]
    first = restoration(model.train(), batches)
    assert model.training and restoration(model, batches) == first  # nothing dropped
    restoration(model.eval(), batches)
    assert not model.training


def test_an_untrained_model_finds_every_token_equally_likely():
    torch.manual_seed(0)
    found = restoration(BERTForPretraining(SMALL), [batch_for(SMALL, rows=40)])
    assert found["held_out"] == pytest.approx(math.log(37), rel=0.05)


def test_at_first_positions_are_waves_as_large_as_the_vectors_of_tokens():
    model = BERT(dataclasses.replace(SMALL, vocab_size=500, context_length=64))
    waves = sinusoidal_positions(64, 16)
    assert_close(model.positions.weight.data, waves * 0.02 * 2**0.5)
    assert model.positions.weight.requires_grad
    sizes = [t.weight.square().mean().sqrt().item() for t in (model.positions, model.tokens)]
    assert sizes == pytest.approx([0.02, 0.02], rel=0.05)
    assert BERT(dataclasses.replace(SMALL, d_model=7, n_heads=1)).positions(13).shape == (13, 7)


def test_at_the_width_of_the_paper_layers_start_as_there_and_narrower_ones_pass_on_as_much():
    for width in (768, 48):
        torch.manual_seed(0)
        model = BERT(dataclasses.replace(SMALL, d_model=width, n_heads=1, n_layers=1))
        expected = 0.02 * (768 / width) ** 0.5
        assert model.pooler.weight.std().item() == pytest.approx(expected, rel=0.05)
        x = torch.randn(1000, width)
        assert model.pooler(x).std().item() == pytest.approx(0.02 * 768**0.5, rel=0.05)


def test_every_matrix_is_stored_row_by_row_which_the_optimizer_goes_through_fastest(both):
    for model in (BERTForPretraining(SMALL), both[0]):
        assert all(p.is_contiguous() for p in model.parameters())


# refuses


@pytest.mark.parametrize(
    "name", ["vocab_size", "context_length", "n_layers", "n_heads", "d_model", "n_segments"]
)
def test_a_size_below_one_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} is 0: it must be at least 1"):
        dataclasses.replace(SMALL, **{name: 0})


def test_a_text_that_does_not_fit_is_refused(letters):
    model = BERTForPretraining(dataclasses.replace(SMALL, vocab_size=len(LETTERS)))
    said = "14 tokens do not fit in a context of 13: cut the text"
    with pytest.raises(ValueError, match=said):
        model(torch.zeros(2, 14, dtype=torch.long))
    with pytest.raises(ValueError, match=said):
        fill(model, letters, "a " * 11 + "[MASK]")


def test_segments_and_masks_of_another_shape_are_refused():
    model, ids = BERT(SMALL), torch.zeros(2, 5, dtype=torch.long)
    with pytest.raises(ValueError, match=r"segment_ids is \[2, 4\] but ids are \[2, 5\]: one per"):
        model(ids, ids[:, :4])
    with pytest.raises(ValueError, match=r"attend is \[1, 5\] but ids are \[2, 5\]: one per"):
        model(ids, attend=torch.ones(1, 5, dtype=torch.bool))
    with pytest.raises(ValueError, match="the mask is torch.int64, not torch.bool: give True"):
        model(ids, attend=torch.ones_like(ids))


def test_without_a_pooler_there_is_no_vector_of_the_whole_text():
    model = BERT(SMALL)
    model.pooler = None
    hidden = model(torch.zeros(1, 3, dtype=torch.long))
    with pytest.raises(ValueError, match="came without a pooler: use the vectors of its positions"):
        model.pooled(hidden)


def test_a_text_with_nothing_to_fill_in_is_refused(letters):
    model = BERTForPretraining(dataclasses.replace(SMALL, vocab_size=len(LETTERS)))
    with pytest.raises(ValueError, match=r"nothing to fill in: write \[MASK\] for each hidden"):
        fill(model, letters, "a b c")


# learns


def test_it_learns_to_restore_letters_and_to_tell_which_passage_follows(letters):
    docs = [Document("couple", pair, tuple(pair * 12)) for pair in ("ab", "cd", "ef", "gh")]
    torch.manual_seed(0)
    model = BERTForPretraining(BERTConfig(len(LETTERS), 13, n_layers=2, n_heads=2, d_model=32))
    held_out = MaskedBatches(PairBatches(docs, letters, 13, 200, seed=1), letters, seed=1)
    before = restoration(model, [held_out[0]])
    batches = MaskedBatches(PairBatches(docs, letters, 13, 32), letters)
    how = TrainConfig(130, lr=0.006, optimizer="muon", warmup=20, precision="fp32")
    train(model, batches, pretraining_loss, how)
    found = restoration(model, [held_out[0]])
    assert before["held_out"] > 2 and before["accuracy"] < 0.5
    assert found["accuracy"] > 0.8  # who only counts the letters of the text has 0.5
    assert found["follows"] > 0.9


def test_with_one_side_alone_the_middle_of_two_cannot_be_told(letters):
    """The token between two others is their sum, so that only both sides together tell it."""
    torch.manual_seed(0)
    left, right = torch.randint(8, (2, 16, 256))
    ids = torch.stack([left, (left + right) % 8, right], dim=2) + len(SPECIAL)  # 16 × [B, 3]
    inputs, targets = ids.clone(), torch.full_like(ids, IGNORED)
    inputs[..., 1], targets[..., 1] = 4, ids[..., 1]
    none, all_ = torch.full((256,), IGNORED), torch.ones(256, 3, dtype=torch.bool)
    how, found = TrainConfig(150, lr=0.006, warmup=20, precision="fp32"), {}
    for name, attend in (("both", all_), ("left", all_[:, None] & causal_mask(3))):
        same = torch.zeros(256, 3, dtype=torch.long), attend, none
        batches = [(x, *same, y) for x, y in zip(inputs, targets)]
        torch.manual_seed(1)
        model = BERTForPretraining(BERTConfig(len(LETTERS), 3, n_layers=2, n_heads=2, d_model=32))
        train(model, batches * 10, pretraining_loss, how)
        found[name] = restoration(model, batches[-2:])["accuracy"]
    assert found["both"] > 0.95
    assert found["left"] < 0.25  # 1/8 is chance


def test_a_model_that_finds_all_tokens_equally_likely_restores_none():
    class Flat(torch.nn.Module):
        def __init__(self, logit):
            super().__init__()
            self.bias = torch.nn.Parameter(torch.full([30], logit))

        def forward(self, inputs, segments, attend, where):
            return self.bias.expand(int(where.sum()), 30), torch.zeros(len(inputs), 2)

    ids = torch.arange(8).view(2, 4)
    batch = (ids, torch.zeros_like(ids), ids >= 0, torch.full([2], IGNORED), ids)
    for logit in (0.0, math.nan):
        found = restoration(Flat(logit), [batch])
        assert found["accuracy"] == 0 and found["top5"] == 0
