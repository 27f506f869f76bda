"""Tests of mini_models.pretrained.convert: the weights of GPT-2 and BERT do the same here."""

import copy

import pytest
import torch
from torch.testing import assert_close
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForPreTraining,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    GPT2Model,
    RobertaConfig,
    RobertaModel,
)

from mini_models.bert import BERT, BERTConfig, BERTForPretraining, pretraining_loss
from mini_models.decoding import generate
from mini_models.gpt import GPTConfig, gpt_loss
from mini_models.pretrained.convert import bert_from_hf, gpt_from_hf

SMALL = {"vocab_size": 97, "n_positions": 20, "n_embd": 16, "n_layer": 2, "n_head": 2}
SIZES = {
    "one layer, one head": {"n_layer": 1, "n_head": 1},
    "deep and narrow": {"n_layer": 7, "n_embd": 8},
    "odd vocabulary": {"vocab_size": 101, "n_head": 4},
    "tiny vocabulary": {"vocab_size": 3},
    "wide inside": {"n_inner": 50},
    "three heads of four": {"n_embd": 12, "n_head": 3},
    "long context": {"n_positions": 300},
    "another epsilon": {"layer_norm_epsilon": 0.1},
    "gelu_pytorch_tanh": {"activation_function": "gelu_pytorch_tanh"},
    "exact gelu": {"activation_function": "gelu"},
    "relu": {"activation_function": "relu"},
    "no dropout": {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
}
SMALL_BERT = {
    "vocab_size": 97,
    "max_position_embeddings": 20,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
BERT_SIZES = {
    "one layer, one head": {"num_hidden_layers": 1, "num_attention_heads": 1},
    "deep and narrow": {"num_hidden_layers": 7, "hidden_size": 8},
    "odd vocabulary": {"vocab_size": 101, "num_attention_heads": 4},
    "tiny vocabulary": {"vocab_size": 3},
    "narrow inside": {"intermediate_size": 5},
    "three heads of four": {"hidden_size": 12, "num_attention_heads": 3},
    "heads of one": {"hidden_size": 5, "num_attention_heads": 5},
    "long context": {"max_position_embeddings": 300},
    "one kind of passage": {"type_vocab_size": 1},
    "five kinds of passage": {"type_vocab_size": 5},
    "another epsilon": {"layer_norm_eps": 0.1},
    "gelu_new": {"hidden_act": "gelu_new"},
    "gelu_pytorch_tanh": {"hidden_act": "gelu_pytorch_tanh"},
    "relu": {"hidden_act": "relu"},
    "no dropout": {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
}


def gpt2(**changes):
    """A GPT-2 none of whose parameters is 0 or 1, in eval mode."""
    torch.manual_seed(0)
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    model = GPT2LMHeadModel(GPT2Config(**{**SMALL, **ends, **changes})).eval()
    for p in model.parameters():
        p.data += 0.2 * torch.randn_like(p)
    return model


def ids_for(config, rows=2):
    draws = torch.Generator().manual_seed(0)
    return torch.randint(config.vocab_size, (rows, config.n_positions), generator=draws)


def bert(kind=BertForPreTraining, **changes):
    """A BERT none of whose parameters is 0 or 1, in eval mode."""
    torch.manual_seed(0)
    options = {"add_pooling_layer": changes.pop("pooler")} if "pooler" in changes else {}
    model = kind(BertConfig(**{**SMALL_BERT, **changes}), **options).eval()
    for p in model.parameters():
        p.data += 0.2 * torch.randn_like(p)
    return model


def texts_for(config, rows=4):
    """ids, segment ids and which of them are real: all, all but one, half, and a single one."""
    T = config.max_position_embeddings
    draws = torch.Generator().manual_seed(0)
    ids = torch.randint(config.vocab_size, (rows, T), generator=draws)
    segments = torch.randint(config.type_vocab_size, (rows, T), generator=draws)
    return ids, segments, torch.arange(T) < torch.tensor([T, T - 1, T // 2, 1])[:, None]


# agrees with an independent implementation


@pytest.mark.parametrize("changes", SIZES.values(), ids=SIZES)
def test_the_logits_are_those_of_transformers(changes):
    theirs = gpt2(**changes)
    ours, ids = gpt_from_hf(theirs), ids_for(theirs.config)
    with torch.no_grad():
        assert_close(ours(ids), theirs(ids).logits, atol=1e-5, rtol=1e-5)


def test_in_double_precision_nothing_but_rounding_is_left():
    theirs = gpt2().double()
    ours, ids = gpt_from_hf(theirs), ids_for(theirs.config)
    assert_close(ours(ids), theirs(ids).logits, atol=1e-12, rtol=1e-12)


def test_the_loss_and_its_gradients_are_those_of_transformers():
    theirs = gpt2()
    ours, ids = gpt_from_hf(theirs), ids_for(theirs.config)
    loss, expected = gpt_loss(ours, (ids[:, :-1], ids[:, 1:])), theirs(ids, labels=ids).loss
    assert_close(loss, expected)
    loss.backward()
    expected.backward()
    norms = [sum(p.grad.square().sum() for p in m.parameters()).sqrt() for m in (ours, theirs)]
    assert_close(*norms, rtol=1e-4, atol=0)
    assert_close(ours.tokens.weight.grad, theirs.transformer.wte.weight.grad, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("changes", [{}, SIZES["exact gelu"], SIZES["three heads of four"]])
def test_greedy_writing_gives_the_same_ids(changes):
    theirs = gpt2(**changes)
    for p in theirs.parameters():
        p.data *= 5 if p.ndim == 2 else 1  # so that what it writes varies
    prompt = ids_for(theirs.config)[:, :4]
    options = {"do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    seen = torch.ones_like(prompt)
    expected = theirs.generate(prompt, attention_mask=seen, max_new_tokens=16, **options)
    assert torch.equal(generate(gpt_from_hf(theirs), prompt, 16, temperature=0), expected)
    assert (expected[:, 4:-1] != expected[:, 5:]).sum() > 10


@pytest.mark.parametrize("changes", BERT_SIZES.values(), ids=BERT_SIZES)
@torch.no_grad()
def test_the_vectors_and_both_heads_of_a_bert_are_those_of_transformers(changes):
    theirs = bert(**changes)
    ours = bert_from_hf(theirs)
    ids, segments, real = texts_for(theirs.config)
    body, heads = theirs.bert(ids, real.long(), segments), theirs(ids, real.long(), segments)
    hidden = ours.bert(ids, segments, real)
    assert_close(hidden[real], body.last_hidden_state[real], atol=2e-5, rtol=1e-5)
    assert_close(ours.bert.pooled(hidden), body.pooler_output, atol=2e-5, rtol=1e-5)
    logits, follows = ours(ids, segments, real)
    assert_close(logits[real], heads.prediction_logits[real], atol=5e-5, rtol=1e-5)
    assert_close(follows, heads.seq_relationship_logits, atol=2e-5, rtol=1e-5)
    alone = bert_from_hf(theirs.bert)
    assert isinstance(alone, BERT) and torch.equal(alone(ids, segments, real), hidden)


@torch.no_grad()
def test_a_bert_in_double_precision_leaves_nothing_but_rounding():
    theirs = bert().double()
    ids, segments, real = texts_for(theirs.config)
    heads = theirs(ids, real.long(), segments)
    logits, follows = bert_from_hf(theirs)(ids, segments, real)
    assert_close(logits[real], heads.prediction_logits[real], atol=1e-12, rtol=1e-12)
    assert_close(follows, heads.seq_relationship_logits, atol=1e-12, rtol=1e-12)


@torch.no_grad()
def test_a_bert_without_a_pooler_gives_the_same_vectors_and_has_none():
    theirs = bert(BertModel, pooler=False)
    ours = bert_from_hf(theirs)
    ids, segments, real = texts_for(theirs.config)
    expected = theirs(ids, real.long(), segments).last_hidden_state[real]
    assert_close(ours(ids, segments, real)[real], expected, atol=2e-5, rtol=1e-5)
    assert ours.pooler is None
    with pytest.raises(ValueError, match="came without a pooler"):
        ours.pooled(torch.zeros(1, 1, 16))


# properties


def test_the_config_says_the_same_sizes():
    ours = gpt_from_hf(gpt2(n_inner=50))
    assert ours.config == GPTConfig(97, 20, n_layers=2, n_heads=2, d_model=16, d_ff=50)
    assert gpt_from_hf(gpt2()).config.d_ff is None  # 4 D, as theirs
    assert gpt_from_hf(gpt2(activation_function="gelu")).config.activation == "gelu"


def test_every_parameter_has_a_counterpart():
    theirs = gpt2()
    ours = gpt_from_hf(theirs)
    counts = [sum(p.numel() for p in model.parameters()) for model in (ours, theirs)]
    assert counts[0] == counts[1]
    sums = [sum(p.double().sum() for p in model.parameters()) for model in (ours, theirs)]
    assert_close(*sums)


def test_the_copy_shares_no_memory_with_the_original():
    theirs = gpt2()
    ours, ids = gpt_from_hf(theirs), ids_for(theirs.config)
    before, original = ours(ids), copy.deepcopy(theirs)
    for p in theirs.parameters():
        p.data.zero_()
    assert_close(ours(ids), before)
    assert_close(gpt_from_hf(original)(ids), before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_precision_stays(dtype):
    ours = gpt_from_hf(gpt2().to(dtype))
    assert {p.dtype for p in ours.parameters()} == {dtype}
    assert {p.device for p in ours.parameters()} == {torch.device("cpu")}


def test_what_comes_back_is_in_eval_mode_and_every_number_of_it_is_filled():
    theirs = gpt2().train()
    ours = gpt_from_hf(theirs)
    assert not any(module.training for module in ours.modules())
    assert theirs.training  # and theirs is left as it was
    assert all(t.isfinite().all() for t in [*ours.parameters(), *ours.buffers()])
    assert all(p.requires_grad for p in ours.parameters())


def test_the_config_of_a_bert_says_the_same_sizes():
    ours = bert_from_hf(bert(intermediate_size=50, type_vocab_size=3, hidden_act="gelu_new"))
    assert isinstance(ours, BERTForPretraining)
    expected = BERTConfig(97, 20, 2, 2, 16, d_ff=50, n_segments=3, activation="gelu_tanh")
    assert ours.config == ours.bert.config == expected


@pytest.mark.parametrize("kind", [BertModel, BertForPreTraining])
def test_every_parameter_of_a_bert_has_a_counterpart(kind):
    theirs = bert(kind)
    ours = bert_from_hf(theirs)
    for of in (lambda p: p.numel(), lambda p: p.double().sum().item()):
        sums = [sum(of(p) for p in model.parameters()) for model in (ours, theirs)]
        assert sums[0] == pytest.approx(sums[1], rel=1e-12)
    assert not any(m.training for m in ours.modules())
    assert all(t.isfinite().all() and not t.is_meta for t in ours.state_dict().values())


def test_the_copy_of_a_bert_shares_no_memory_with_the_original():
    theirs = bert()
    ours, (ids, *_) = bert_from_hf(theirs), texts_for(theirs.config)
    before = ours(ids)
    for p in theirs.parameters():
        p.data.zero_()
    assert_close(ours(ids), before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_precision_of_a_bert_stays(dtype):
    assert {p.dtype for p in bert_from_hf(bert().to(dtype)).parameters()} == {dtype}


# refuses


@pytest.mark.parametrize(
    "model",
    [
        torch.nn.Linear(2, 2),
        BertModel(BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1)),
        GPT2Model(GPT2Config(**SMALL, bos_token_id=0, eos_token_id=0)),
    ],
    ids=lambda model: type(model).__name__,
)
def test_another_model_is_refused_by_name(model):
    said = f"a {type(model).__name__} was given: gpt_from_hf takes a GPT2LMHeadModel"
    with pytest.raises(ValueError, match=said):
        gpt_from_hf(model)


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"activation_function": "silu"}, "activation 'silu' has no counterpart here: use one of"),
        ({"scale_attn_weights": False}, "does not divide its scores by √K alone"),
        ({"scale_attn_by_inverse_layer_idx": True}, "does not divide its scores by √K alone"),
        ({"tie_word_embeddings": False}, "has an output layer of its own: ours reuses"),
    ],
)
def test_a_variant_that_computes_something_else_is_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        gpt_from_hf(gpt2(**changes))


@pytest.mark.parametrize(
    "model",
    [
        torch.nn.Linear(2, 2),
        GPT2Model(GPT2Config(**SMALL, bos_token_id=0, eos_token_id=0)),
        RobertaModel(RobertaConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1)),
        bert(BertForMaskedLM),
    ],
    ids=lambda model: type(model).__name__,
)
def test_what_is_no_bert_is_refused_by_name(model):
    said = f"a {type(model).__name__} was given: bert_from_hf takes a BertModel or a BertForPreTr"
    with pytest.raises(ValueError, match=said):
        bert_from_hf(model)


@pytest.mark.parametrize(
    "kind, changes, said",
    [
        (BertModel, {"hidden_act": "silu"}, "activation 'silu' has no counterpart here: use one"),
        (BertModel, {"position_embedding_type": "relative_key"}, "has relative_key positions: our"),
        (BertModel, {"is_decoder": True}, "this BERT is a decoder: ours looks at both sides"),
        (BertForPreTraining, {"tie_word_embeddings": False}, "has an output layer of its own: our"),
    ],
)
def test_a_variant_of_bert_that_computes_something_else_is_refused(kind, changes, said):
    with pytest.raises(ValueError, match=said):
        bert_from_hf(bert(kind, **changes))


# learns


def test_a_converted_model_goes_on_learning():
    ours, ids = gpt_from_hf(gpt2()).train(), ids_for(gpt2().config)
    optimizer = torch.optim.Adam(ours.parameters(), lr=0.01)
    losses = []
    for _ in range(60):
        loss = gpt_loss(ours, (ids[:, :-1], ids[:, 1:]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 4 and losses[-1] < 0.5


def test_a_converted_bert_goes_on_learning():
    ours = bert_from_hf(bert()).train()
    ids, segments, real = texts_for(bert().config)
    elsewhere = torch.tensor([0, 1, 1, 0])
    targets = ids.where(real & (torch.arange(20) % 3 == 0), -100)
    batch = (ids.where(targets == -100, 1), segments, real, elsewhere, targets)
    optimizer = torch.optim.Adam(ours.parameters(), lr=0.01)
    losses = []
    for _ in range(60):
        loss = pretraining_loss(ours, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 4 and losses[-1] < 0.5
