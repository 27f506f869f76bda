"""Convert: the weights of Hugging Face models, in ours.

If the same weights give the same numbers, our few lines compute what the real model computes.

Source   Radford et al. 2019 and Devlin et al. 2019; the layouts of transformers' GPT-2, whose
         "Conv1D" stores a linear map as [in, out], the transpose of nn.Linear, and of its BERT
"""

import torch
from torch import nn

from mini_models.bert import BERT, BERTConfig, BERTForPretraining
from mini_models.gpt import GPT, GPTConfig

_ACTIVATIONS = {
    "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu", "relu": "relu",
}  # fmt: skip


def gpt_from_hf(hf_model: nn.Module) -> GPT:
    """A `GPT` with the weights of a transformers `GPT2LMHeadModel`, any size, in eval mode.

    Returns: a model with the same logits to about 1e-5, of the same dtype, on the same device.
    Raises: ValueError if the model is not GPT-2 or uses a variant that ours does not have.
    """
    c = getattr(hf_model, "config", None)
    if getattr(c, "model_type", None) != "gpt2" or not hasattr(hf_model, "transformer"):
        raise ValueError(
            f"a {type(hf_model).__name__} was given: gpt_from_hf takes a GPT2LMHeadModel"
        )
    _refuse_variants(c)
    config = GPTConfig(
        c.vocab_size, c.n_positions, c.n_layer, c.n_head, c.n_embd,
        d_ff=c.n_inner, activation=_ACTIVATIONS[c.activation_function],
    )  # fmt: skip
    theirs = hf_model.transformer
    with torch.device("meta"):  # allocate nothing: the weights are all on their way
        ours = GPT(config)
    ours.to_empty(device=theirs.wte.weight.device).to(theirs.wte.weight.dtype)
    _copy(ours.tokens.weight, theirs.wte.weight)
    _copy(ours.positions.weight, theirs.wpe.weight)
    eps = c.layer_norm_epsilon
    for block, h in zip(ours.transformer.blocks, theirs.h):
        _copy_layer(block.norm1, h.ln_1, eps)
        _copy_layer(block.attention.qkv, h.attn.c_attn)
        _copy_layer(block.attention.out, h.attn.c_proj)
        _copy_layer(block.norm2, h.ln_2, eps)
        _copy_layer(block.feed_forward.inner, h.mlp.c_fc)
        _copy_layer(block.feed_forward.outer, h.mlp.c_proj)
    _copy_layer(ours.transformer.norm, theirs.ln_f, eps)
    return ours.eval()


def _refuse_variants(c) -> None:
    """Raise ValueError for settings of GPT-2 that change its formula and that ours lacks."""
    _refuse_activation(c.activation_function)
    if not c.scale_attn_weights or c.scale_attn_by_inverse_layer_idx:
        raise ValueError("this GPT-2 does not divide its scores by √K alone: ours does only that")
    if not c.tie_word_embeddings:
        raise ValueError("this GPT-2 has an output layer of its own: ours reuses the embedding")


def _refuse_activation(name: str) -> None:
    if name not in _ACTIVATIONS:
        known = ", ".join(_ACTIVATIONS)
        raise ValueError(f"activation {name!r} has no counterpart here: use one of {known}")


def bert_from_hf(hf_model: nn.Module) -> BERT | BERTForPretraining:
    """A `BERT` with the weights of a transformers `BertModel`, or a `BERTForPretraining` with those
    of a `BertForPreTraining`; any size, in eval mode.

    Returns: a model with the same vectors or logits to about 1e-5, of the same dtype, on the same
        device; its `pooler` is None if theirs has none.
    Raises: ValueError if the model is neither, or uses a variant that ours does not have.
    """
    c = getattr(hf_model, "config", None)
    heads = getattr(hf_model, "cls", None)  # of BertForPreTraining
    theirs = hf_model.bert if hasattr(heads, "seq_relationship") else hf_model
    if getattr(c, "model_type", None) != "bert" or not hasattr(theirs, "encoder"):
        raise ValueError(
            f"a {type(hf_model).__name__} was given: bert_from_hf takes a BertModel or a "
            "BertForPreTraining"
        )
    _refuse_bert_variants(c, heads)
    config = BERTConfig(
        c.vocab_size, c.max_position_embeddings, c.num_hidden_layers, c.num_attention_heads,
        c.hidden_size, c.intermediate_size, c.type_vocab_size,
        activation=_ACTIVATIONS[c.hidden_act],
    )  # fmt: skip
    with torch.device("meta"):
        ours = BERT(config) if theirs is hf_model else BERTForPretraining(config)
    words = theirs.embeddings.word_embeddings.weight
    ours.to_empty(device=words.device).to(words.dtype)
    _copy_bert(ours if theirs is hf_model else ours.bert, theirs)
    if theirs is not hf_model:
        _copy(ours.bias, heads.predictions.bias)
        _copy_layer(ours.transform, heads.predictions.transform.dense)
        _copy_layer(ours.norm, heads.predictions.transform.LayerNorm, c.layer_norm_eps)
        _copy_layer(ours.elsewhere, heads.seq_relationship)
    return ours.eval()


def _copy_bert(ours: BERT, theirs: nn.Module) -> None:
    embeddings, eps = theirs.embeddings, theirs.config.layer_norm_eps
    _copy(ours.tokens.weight, embeddings.word_embeddings.weight)
    _copy(ours.positions.weight, embeddings.position_embeddings.weight)
    _copy(ours.segments.weight, embeddings.token_type_embeddings.weight)
    _copy_layer(ours.norm, embeddings.LayerNorm, eps)
    for block, layer in zip(ours.transformer.blocks, theirs.encoder.layer):
        qkv = [getattr(layer.attention.self, name) for name in ("query", "key", "value")]
        _copy(block.attention.qkv.weight, torch.cat([linear.weight for linear in qkv]))
        _copy(block.attention.qkv.bias, torch.cat([linear.bias for linear in qkv]))
        _copy_layer(block.attention.out, layer.attention.output.dense)
        _copy_layer(block.norm1, layer.attention.output.LayerNorm, eps)
        _copy_layer(block.feed_forward.inner, layer.intermediate.dense)
        _copy_layer(block.feed_forward.outer, layer.output.dense)
        _copy_layer(block.norm2, layer.output.LayerNorm, eps)
    if theirs.pooler is None:
        ours.pooler = None
    else:
        _copy_layer(ours.pooler, theirs.pooler.dense)


def _copy_layer(mine: nn.Module, theirs: nn.Module, eps: float | None = None) -> None:
    """Weight and bias of a linear layer, or of a LayerNorm with its eps."""
    transposed = type(theirs).__name__ == "Conv1D"  # which is [in, out]
    _copy(mine.weight, theirs.weight.T if transposed else theirs.weight)
    _copy(mine.bias, theirs.bias)
    if eps is not None:
        mine.eps = eps


def _refuse_bert_variants(c, heads) -> None:
    """Raise ValueError for settings of BERT that change its formula and that ours lacks."""
    _refuse_activation(c.hidden_act)
    if getattr(c, "position_embedding_type", "absolute") != "absolute":
        raise ValueError(
            f"this BERT has {c.position_embedding_type} positions: ours are absolute and learned"
        )
    if c.is_decoder or c.add_cross_attention:
        raise ValueError("this BERT is a decoder: ours looks at both sides, and at no other text")
    if heads is not None and not c.tie_word_embeddings:
        raise ValueError("this BERT has an output layer of its own: ours reuses the embedding")


@torch.no_grad()
def _copy(mine: torch.Tensor, theirs: torch.Tensor) -> None:
    mine.copy_(theirs)
