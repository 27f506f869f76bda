"""Decoding: from the probabilities of each next token to a text.

Shapes   B batch, T tokens so far, V vocabulary size
Source   Radford et al. 2019 (top-k sampling, section 3); Holtzman et al. 2020,
         arXiv:1904.09751 (nucleus sampling, section 3.1)
Derived  notebooks/08_gpt.ipynb (greedy, temperature)
"""

import torch
from torch import Tensor


@torch.inference_mode()
def generate(
    model,
    ids: Tensor,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop: int | None = None,
    cache: bool = True,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Continue each row of ids, one token at a time.

    Args:
        model: maps ids [B, T] to logits [B, T, V]. One with `new_cache(batch)` and
            `model(ids, cache)` reads every token only once.
        ids: the prompts, int64 [B, T], T at least 1.
        max_new_tokens: how many tokens to add.
        temperature: divides the logits; 0 takes the most probable token (greedy).
        top_k: keep only the k most probable tokens.
        top_p: keep the fewest tokens whose probabilities add up to at least p.
        stop: a token id; a row that has drawn it repeats it to the end, and the loop ends early
            when all rows have.
        cache: False reads the whole text anew for every token; the result is the same.
        generator: source of the random draws, on the device of ids.
    Returns: ids [B, T + new], the prompts included.
    Raises: ValueError if a setting is out of its range or the text outgrows the context.
    """
    _check(model, ids, max_new_tokens, temperature, top_k, top_p)
    training = getattr(model, "training", False)
    if training:
        model.eval()  # dropout would make the text depend on chance twice
    try:
        memory = model.new_cache(len(ids)) if cache and hasattr(model, "new_cache") else None
        with torch.inference_mode(False):  # so that a model can be trained on what is written
            text = torch.cat([ids, ids.new_zeros(len(ids), max_new_tokens)], dim=1)
        done = None if stop is None else torch.zeros_like(ids[:, 0], dtype=torch.bool)
        seen = 0  # how many tokens the cache has read
        for end in range(ids.shape[1], text.shape[1]):
            if memory is None:
                logits = model(text[:, :end])[:, -1]
            else:
                logits, seen = model(text[:, seen:end], memory)[:, -1], end
            token = choose(logits, temperature, top_k, top_p, generator)  # [B]
            if done is not None:
                token = token.masked_fill(done, stop)
                done |= token == stop
            text[:, end] = token
            if done is not None and done.all():
                return text[:, : end + 1]
        return text
    finally:
        if training:
            model.train()


def choose(
    logits: Tensor,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """One token id for each row of logits [B, V]; arguments as in `generate`. Returns [B]."""
    if temperature == 0:
        return logits.argmax(dim=-1)
    logits = logits.float() / temperature
    if top_k is not None:
        kth = logits.topk(min(top_k, logits.shape[-1]), dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < kth, -torch.inf)
    if top_p is not None:
        logits = keep_nucleus(logits, top_p)
    return logits.softmax(dim=-1).multinomial(1, generator=generator)[:, 0]


def keep_nucleus(logits: Tensor, top_p: float) -> Tensor:
    """-inf for all but the fewest tokens whose probabilities reach top_p; [B, V] to [B, V]."""
    ordered, order = logits.softmax(dim=-1).sort(dim=-1, descending=True)
    before = ordered.cumsum(dim=-1) - ordered  # probability of the tokens ranked higher
    drop = torch.empty_like(before, dtype=torch.bool).scatter_(-1, order, before >= top_p)
    return logits.masked_fill(drop, -torch.inf)


def _check(model, ids, max_new_tokens, temperature, top_k, top_p) -> None:
    if ids.ndim != 2 or ids.shape[1] == 0:
        raise ValueError(f"ids have shape {list(ids.shape)}: give [B, T] with at least one token")
    if max_new_tokens < 0:
        raise ValueError(f"max_new_tokens is {max_new_tokens}: it cannot be negative")
    if temperature < 0:
        raise ValueError(f"temperature is {temperature}: use 0 for greedy or a positive number")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k is {top_k}: keep at least one token")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p is {top_p}: it is a probability in (0, 1]")
    context = getattr(getattr(model, "config", None), "context_length", None)
    if context is not None and ids.shape[1] + max_new_tokens > context:
        raise ValueError(
            f"{ids.shape[1]} tokens and {max_new_tokens} new ones do not fit in a context of "
            f"{context}: ask for at most {max(context - ids.shape[1], 0)} new tokens"
        )
