"""Tests of mini_models.scaling: against counted models, torch's counter, and published tables."""

import dataclasses

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    BertConfig,
    BertForPreTraining,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    RobertaConfig,
    RobertaModel,
)

from mini_models.gpt import GPT, POSITIONS, GPTConfig, gpt_loss
from mini_models.scaling import (
    BERT_SIZES,
    CHINCHILLA,
    CHINCHILLA_REFIT,
    DALLE_SIZES,
    GPT2_SIZES,
    GPT3_SIZES,
    PF_DAY,
    BERTConfig,
    LossLaw,
    activation_bytes,
    block_params,
    forward_flops,
    kv_cache_bytes,
    n_params,
    pf_days,
    pretraining_head_params,
    training_flops,
)
from mini_models.train import TrainConfig, train
from mini_models.transformer import Block

SMALL = GPTConfig(vocab_size=11, context_length=12, n_layers=3, n_heads=2, d_model=8)
# Brown et al. 2020, table 2.1 (parameters) and table D.1 (PF-days for 300 billion tokens, and the
# parameters that they were computed with, in millions)
PUBLISHED = {
    "Small": ("125M", 2.60, 125),
    "Medium": ("350M", 7.42, 356),
    "Large": ("760M", 15.8, 760),
    "XL": ("1.3B", 27.5, 1320),
    "2.7B": ("2.7B", 55.2, 2650),
    "6.7B": ("6.7B", 139, 6660),
    "13B": ("13.0B", 268, 12850),
    "175B": ("175.0B", 3640, 174600),
}


# agrees with an independent implementation


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("changes", [{}, {"d_ff": 20}, {"n_layers": 1, "vocab_size": 500}])
def test_the_formula_counts_what_a_model_has(positions, changes):
    config = dataclasses.replace(SMALL, positions=positions, **changes)
    assert n_params(config) == sum(p.numel() for p in GPT(config).parameters())


@pytest.mark.parametrize("name", GPT2_SIZES)
def test_the_sizes_of_gpt_2_have_the_parameters_of_transformers(name):
    c = GPT2_SIZES[name]
    with torch.device("meta"):  # counts without memory
        sizes = {"n_embd": c.d_model, "n_layer": c.n_layers, "n_head": c.n_heads}
        config = GPT2Config(vocab_size=c.vocab_size, n_positions=c.context_length, **sizes)
        theirs = GPT2LMHeadModel(config)
    assert n_params(c) == theirs.num_parameters()


def test_the_sizes_of_gpt_2_are_those_of_its_paper():
    table = {
        name: (c.n_layers, c.d_model) for name, c in GPT2_SIZES.items()
    }  # Radford 2019, table 2
    assert table == {
        "small": (12, 768),
        "medium": (24, 1024),
        "large": (36, 1280),
        "xl": (48, 1600),
    }


def bert_of_transformers(c: BERTConfig) -> BertConfig:
    return BertConfig(
        vocab_size=c.vocab_size,
        max_position_embeddings=c.context_length,
        num_hidden_layers=c.n_layers,
        num_attention_heads=c.n_heads,
        hidden_size=c.d_model,
        intermediate_size=c.d_ff or 4 * c.d_model,
        type_vocab_size=c.n_segments,
    )


@pytest.mark.parametrize("name", BERT_SIZES)
def test_the_sizes_of_bert_have_the_parameters_of_transformers(name):
    config = bert_of_transformers(BERT_SIZES[name])
    with torch.device("meta"):
        body, whole = BertModel(config), BertForPreTraining(config)
    assert n_params(BERT_SIZES[name]) == body.num_parameters()
    both = n_params(BERT_SIZES[name]) + pretraining_head_params(BERT_SIZES[name])
    assert both == whole.num_parameters()


def test_a_bert_of_any_shape_has_the_parameters_of_transformers():
    config = BERTConfig(50, 9, n_layers=3, n_heads=2, d_model=8, d_ff=20, n_segments=5)
    with torch.device("meta"):
        whole = BertForPreTraining(bert_of_transformers(config))
    assert n_params(config) + pretraining_head_params(config) == whole.num_parameters()


def test_roberta_large_has_the_355_million_that_are_printed_for_bert_large():
    config = BERTConfig(50265, 514, 24, 16, 1024, n_segments=1)
    with torch.device("meta"):
        theirs = RobertaModel(
            RobertaConfig(
                vocab_size=50265, max_position_embeddings=514, num_hidden_layers=24,
                num_attention_heads=16, hidden_size=1024, intermediate_size=4096, type_vocab_size=1,
            )
        )  # fmt: skip
    assert n_params(config) == theirs.num_parameters() == 355_359_744


def test_dall_e_has_the_parameters_of_its_paper():
    assert n_params(DALLE_SIZES["12.0B"]) == 12_192_997_376
    for (
        name,
        config,
    ) in DALLE_SIZES.items():  # Ramesh et al. 2021, table 1, prints 2.8, 5.6 and 12.0
        assert n_params(config) / 1e9 == pytest.approx(float(name[:-1]), rel=0.017)
        assert config.d_model == 64 * config.n_heads
        assert config.text_length + config.image_length == 1280


def test_the_formula_of_a_block_counts_what_a_block_has():
    for d_ff in (None, 20):
        counted = sum(p.numel() for p in Block(8, 2, d_ff).parameters())
        assert block_params(dataclasses.replace(SMALL, d_ff=d_ff)) == counted
    assert block_params(SMALL) == 12 * 8**2 + 13 * 8


@pytest.mark.parametrize("T", [1, 5, 12])
@pytest.mark.parametrize("d_ff", [None, 20])
def test_the_arithmetic_of_a_pass_is_what_torch_counts(T, d_ff):
    config = dataclasses.replace(SMALL, d_ff=d_ff)
    with torch.device("meta"):
        model, ids = GPT(config), torch.zeros(1, T, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        model(ids)
    assert forward_flops(config, T) == counter.get_total_flops()


@pytest.mark.parametrize("d_ff", [None, 20])
@pytest.mark.parametrize("T", [3, 12])
def test_a_forward_pass_leaves_the_activations_that_the_formula_counts(T, d_ff):
    model = GPT(dataclasses.replace(SMALL, d_ff=d_ff))
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept = {}

    def keep(t):
        if t.is_floating_point() and t.ndim and t.untyped_storage().data_ptr() not in weights:
            kept[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    ids = torch.zeros(5, T, dtype=torch.long)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        loss = gpt_loss(model, (ids, ids))
    assert sum(kept.values()) == 5 * T * activation_bytes(model.config) and loss.requires_grad


@pytest.mark.parametrize("law", [CHINCHILLA, CHINCHILLA_REFIT])
@pytest.mark.parametrize("flops", [1e20, 3.14e23])
def test_the_best_size_is_the_smallest_loss_on_a_grid(law, flops):
    sizes = torch.logspace(7, 13, 6001, dtype=torch.float64)
    best = sizes[law.loss(sizes, flops / (6 * sizes)).argmin()].item()
    assert law.best_params(flops) == pytest.approx(best, rel=0.003)


def test_the_published_laws_say_what_their_papers_say():
    gopher = 5.76e23  # FLOPs
    assert CHINCHILLA.best_params(gopher) == pytest.approx(40e9, rel=0.02)  # Hoffmann, section 3.3
    N = CHINCHILLA_REFIT.best_params(gopher)  # about 20 tokens a parameter: Besiroglu, section 3
    assert gopher / 6 / N**2 == pytest.approx(20, rel=0.15)


@pytest.mark.parametrize("name", PUBLISHED)
def test_gpt_3_needs_the_parameters_and_pf_days_of_its_paper(name):
    rounded, days, millions = PUBLISHED[name]
    assert GPT3_SIZES.keys() == PUBLISHED.keys()
    count = n_params(GPT3_SIZES[name])
    scale = {"M": 1e6, "B": 1e9}[rounded[-1]]
    assert count / scale == pytest.approx(float(rounded[:-1]), rel=0.02)
    assert count / 1e6 == pytest.approx(millions, rel=0.005)
    assert pf_days(GPT3_SIZES[name], 300e9) == pytest.approx(days, rel=0.005)


def test_the_cache_takes_the_bytes_that_are_allocated():
    cache = GPT(SMALL).half().new_cache(batch=5)
    assert cache.buffer.untyped_storage().nbytes() == 5 * 12 * kv_cache_bytes(SMALL)
    assert 2 * kv_cache_bytes(SMALL) == kv_cache_bytes(SMALL, bytes_per_number=4)


# properties


def test_six_n_is_three_passes_of_a_wide_model_over_a_short_text():
    config = GPT3_SIZES["13B"]
    exact = 3 * forward_flops(config, 128)  # backward costs twice what forward does
    assert exact / training_flops(config, 128) == pytest.approx(1, abs=0.02)


def test_attention_grows_with_the_square_of_the_text_and_all_else_in_proportion():
    def squares(T):  # what is left of a second difference: the T² alone
        return forward_flops(SMALL, 2 * T) - 2 * forward_flops(SMALL, T)

    assert squares(10) == 2 * 4 * 3 * 8 * 100  # 4 L D T², doubled
    assert squares(20) == 4 * squares(10)


def test_most_parameters_of_a_large_model_are_in_its_blocks_and_of_a_small_one_are_not():
    share = {n: c.n_layers * block_params(c) / n_params(c) for n, c in GPT3_SIZES.items()}
    assert share["Small"] < 0.7 and share["175B"] > 0.99
    assert list(share.values()) == sorted(share.values())


def test_published_sizes_can_be_built_from_heads_of_one_width():
    for config in [*GPT2_SIZES.values(), *GPT3_SIZES.values()]:
        assert config.d_model % config.n_heads == 0
    assert {GPT2_SIZES[n].d_model // GPT2_SIZES[n].n_heads for n in GPT2_SIZES} == {64}
    assert {c.context_length for c in GPT3_SIZES.values()} == {2048}
    assert {c.vocab_size for c in [*GPT2_SIZES.values(), *GPT3_SIZES.values()]} == {50257}


def test_a_pf_day_is_a_day_at_a_thousand_teraflops():
    assert PF_DAY == 8.64e19
    assert pf_days(SMALL, 1000) == training_flops(SMALL, 1000) / 8.64e19
    assert training_flops(SMALL, 1000) == 6000 * n_params(SMALL)


def test_with_more_arithmetic_the_best_loss_falls_towards_its_floor():
    budgets = [10.0**k for k in range(18, 30)]
    sizes = [CHINCHILLA.best_params(c) for c in budgets]
    losses = [CHINCHILLA.loss(n, c / 6 / n) for n, c in zip(sizes, budgets)]
    assert sizes == sorted(sizes) and losses == sorted(losses, reverse=True)
    assert losses[-1] > CHINCHILLA.floor
    alike = LossLaw(1.0, 5.0, 5.0, 0.3, 0.3)  # nothing tells parameters from tokens
    assert alike.best_params(6e10) == pytest.approx(1e5)


# refuses


def test_what_is_not_a_config_cannot_be_counted():
    with pytest.raises(ValueError, match="cannot count a TrainConfig: give a GPTConfig"):
        n_params(TrainConfig())


@pytest.mark.parametrize("flops", [0, -600])
def test_a_budget_must_be_positive(flops):
    with pytest.raises(ValueError, match=f"the arithmetic is {flops} FLOPs: it must be above 0"):
        CHINCHILLA.best_params(flops)


# learns


def test_of_two_models_the_larger_learns_more_in_as_many_steps():
    ids = torch.tensor([(i * i + i // 7) % 11 for i in range(13 * 40)]).view(40, 13)
    losses = []
    for d_model in (4, 32):
        torch.manual_seed(0)
        model = GPT(dataclasses.replace(SMALL, d_model=d_model, n_layers=1))
        config = TrainConfig(steps=60, lr=0.01, warmup=5, precision="fp32")
        losses.append(train(model, [(ids[:, :-1], ids[:, 1:])] * 60, gpt_loss, config)[-1])
    assert losses[1] < losses[0] - 0.3
