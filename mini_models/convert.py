"""Convert: the weights of Hugging Face models, in ours.

If the same weights give the same numbers, our few lines compute what the real model computes.

Source   Radford et al. 2019; the layout of transformers' GPT-2, whose "Conv1D" stores a
         linear map as [in, out], the transpose of nn.Linear
"""

import torch
from torch import nn

from mini_models.gpt import GPT, GPTConfig

_ACTIVATIONS = {
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu": "gelu",
    "relu": "relu",
}


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
        c.vocab_size,
        c.n_positions,
        c.n_layer,
        c.n_head,
        c.n_embd,
        d_ff=c.n_inner,
        activation=_ACTIVATIONS[c.activation_function],
    )
    theirs = hf_model.transformer
    with torch.device("meta"):  # allocate nothing: the weights are all on their way
        ours = GPT(config)
    ours.to_empty(device=theirs.wte.weight.device).to(theirs.wte.weight.dtype)
    _copy(ours.tokens.weight, theirs.wte.weight)
    _copy(ours.positions.weight, theirs.wpe.weight)
    for block, h in zip(ours.transformer.blocks, theirs.h):
        block.norm1.eps = block.norm2.eps = c.layer_norm_epsilon
        for mine, other in [
            (block.norm1, h.ln_1),
            (block.attention.qkv, h.attn.c_attn),
            (block.attention.out, h.attn.c_proj),
            (block.norm2, h.ln_2),
            (block.feed_forward.inner, h.mlp.c_fc),
            (block.feed_forward.outer, h.mlp.c_proj),
        ]:
            transposed = isinstance(mine, nn.Linear)  # Conv1D is [in, out]
            _copy(mine.weight, other.weight.T if transposed else other.weight)
            _copy(mine.bias, other.bias)
    ours.transformer.norm.eps = c.layer_norm_epsilon
    _copy(ours.transformer.norm.weight, theirs.ln_f.weight)
    _copy(ours.transformer.norm.bias, theirs.ln_f.bias)
    return ours.eval()


def _refuse_variants(c) -> None:
    """Raise ValueError for settings of GPT-2 that change its formula and that ours lacks."""
    if c.activation_function not in _ACTIVATIONS:
        raise ValueError(
            f"activation {c.activation_function!r} has no counterpart here: "
            f"use one of {', '.join(_ACTIVATIONS)}"
        )
    if not c.scale_attn_weights or c.scale_attn_by_inverse_layer_idx:
        raise ValueError("this GPT-2 does not divide its scores by √K alone: ours does only that")
    if not c.tie_word_embeddings:
        raise ValueError("this GPT-2 has an output layer of its own: ours reuses the embedding")


@torch.no_grad()
def _copy(mine: torch.Tensor, theirs: torch.Tensor) -> None:
    mine.copy_(theirs)
