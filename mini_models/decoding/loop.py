"""Decoding: from the probabilities of each next token to a text.

`generate` serves every model that maps ids to logits. How a token is chosen is in `rules`, how
several beginnings are weighed in `beam`, how tokens are guessed ahead in `speculative`.

Shapes   B batch, T tokens so far, V vocabulary size
Derived  notebooks/08_gpt.ipynb
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from mini_models.decoding.beam import beam_search
from mini_models.decoding.rules import Rules
from mini_models.decoding.speculative import DraftModel, Lookup, speculate
from mini_models.machine.devices import on_device
from mini_models.machine.evaluating import evaluating


@torch.inference_mode()
def generate(
    model,
    ids: Tensor,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    repetition_penalty: float = 1.0,
    beams: int = 1,
    draft=None,
    draft_tokens: int = 4,
    legal: Callable | None = None,
    stop: int | None = None,
    cache: bool = True,
    lookup: bool = True,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Continue each row of ids, one token after another.

    Args:
        model: maps ids [B, T] to logits [B, T, V]. One with `new_cache(batch)` and
            `model(ids, cache)` reads every token only once.
        ids: the prompts, int64 [B, T], T at least 1.
        max_new_tokens: how many tokens to add.
        temperature: divides the logits; 0 takes the most probable token (greedy).
        top_k: keep only the k most probable tokens.
        top_p: keep the fewest tokens whose probabilities add up to at least p.
        repetition_penalty: above 1, makes tokens that the text holds already less likely.
        beams: above 1, beam search with so many; it draws nothing and takes no account of
            temperature.
        draft: a smaller model of the same vocabulary that guesses ahead (speculative decoding).
        draft_tokens: how many tokens the draft guesses at a time.
        legal: from the ids so far of one row (a list, the prompt included) to those that may come
            next (ids in a list, set or tensor; None: all). Beams weigh legal texts by the model's
            own probabilities, everything else draws from them normalised anew.
        stop: a token id; a row that has drawn it repeats it to the end, and the loop ends early
            when all rows have.
        cache: False reads the whole text anew for every token; the result is the same.
        lookup: whether plain greedy writing of one text with a cache may look up guesses in the
            text itself; the result is the same.
        generator: source of the random draws.
    Returns: ids [B, T + new], the prompts included.
    Raises: ValueError if a setting is out of its range, settings contradict each other, or the
        text outgrows the context.
    """
    for m in (model,) if draft is None else (model, draft):
        _check_prompt(m, ids, max_new_tokens)
    _check_draft(model, draft)
    _check_settings(temperature, top_k, top_p, repetition_penalty, draft_tokens, beams, draft)
    generator = on_device(generator, ids.device)
    rules = Rules(temperature, top_k, top_p, repetition_penalty, legal, stop, ids.shape[1])
    # dropout would make the text depend on chance twice
    with evaluating(*(m for m in (model, draft) if isinstance(m, nn.Module))):
        with torch.inference_mode(False):  # so that a model can be trained on what is written
            text = torch.cat([ids, ids.new_zeros(len(ids), max_new_tokens)], dim=1)
        read = Reader(model, beams * len(ids), cache)
        if beams > 1:
            return beam_search(read, text, rules, beams)
        if draft is not None:
            guess = DraftModel(Reader(draft, len(ids), cache), rules, draft_tokens, generator)
            return speculate(read, guess, text, rules, generator)
        if lookup and _may_look_up(rules) and len(ids) == 1 and read.cache is not None:
            return speculate(read, Lookup(), text, rules)
        return _one_by_one(read, text, rules, generator)


def _may_look_up(rules: Rules) -> bool:
    """Guesses may break a law, and a penalty leaves few loops to look up: only without them."""
    return rules.temperature == 0 and rules.repetition_penalty == 1 and rules.legal is None


def _one_by_one(read, text: Tensor, rules: Rules, generator) -> Tensor:
    """Fill the text [B, total] behind the prompts, a token a reading."""
    for end in range(rules.start, text.shape[1]):
        if rules.all_finished(text[:, :end]):
            return text[:, :end]
        so_far = text[:, :end]
        text[:, end] = rules.choose(read(so_far)[:, -1], so_far, generator)
    return text


class Reader:
    """A model that is shown a growing text; with a cache it reads every token once.

    Args:
        model: as in `generate`.
        rows: of the texts to come.
        cache: whether to use the model's cache, if it has one.
    """

    def __init__(self, model, rows: int, cache: bool = True):
        self.model = model
        self.cache = model.new_cache(rows) if cache and hasattr(model, "new_cache") else None

    def __call__(self, text: Tensor, last: int = 1) -> Tensor:
        """The logits [B, last, V] at the last positions of the text [B, T]."""
        if self.cache is None:
            return self.model(text)[:, -last:]
        return self.model(text[:, self.cache.length :], self.cache)[:, -last:]

    def rewind(self, length: int) -> None:
        """Forget what was read behind the first `length` tokens."""
        if self.cache is not None:
            self.cache.rewind(min(length, self.cache.length))

    def reorder(self, rows: Tensor) -> None:
        """From now on row i continues what row rows[i] was, rows int64 [B]."""
        if self.cache is not None:
            self.cache.reorder(rows)


def _check_prompt(model, ids, max_new_tokens) -> None:
    if ids.ndim != 2 or ids.shape[1] == 0:
        raise ValueError(f"ids have shape {list(ids.shape)}: give [B, T] with at least one token")
    if ids.dtype not in (torch.int64, torch.int32):
        raise ValueError(f"ids are {ids.dtype}: give whole numbers, torch.int64")
    if max_new_tokens < 0:
        raise ValueError(f"max_new_tokens is {max_new_tokens}: it cannot be negative")
    config = getattr(model, "config", None)
    context = getattr(config, "context_length", None)
    if context is not None and ids.shape[1] + max_new_tokens > context:
        raise ValueError(
            f"{ids.shape[1]} tokens and {max_new_tokens} new ones do not fit in a context of "
            f"{context}: ask for at most {max(context - ids.shape[1], 0)} new tokens"
        )
    size = getattr(config, "vocab_size", None)
    if size is not None and len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < size:
        raise ValueError(
            f"ids go from {int(ids.min())} to {int(ids.max())}: this model knows 0 to {size - 1}"
        )


def _check_draft(model, draft) -> None:
    sizes = [getattr(getattr(m, "config", None), "vocab_size", None) for m in (draft, model)]
    if None not in sizes and sizes[0] != sizes[1]:
        raise ValueError(
            f"the draft knows {sizes[0]} tokens and the model {sizes[1]}: "
            "both must have been trained with the same tokenizer"
        )


def _check_settings(
    temperature, top_k, top_p, repetition_penalty, draft_tokens, beams, draft
) -> None:
    if not 0 <= temperature < math.inf:
        raise ValueError(f"temperature is {temperature}: use 0 for greedy or a positive number")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k is {top_k}: keep at least one token")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p is {top_p}: it is a probability in (0, 1]")
    if not 0 < repetition_penalty < math.inf:
        raise ValueError(
            f"repetition_penalty is {repetition_penalty}: use 1 for none, or a number above 1"
        )
    if draft_tokens < 1:
        raise ValueError(f"draft_tokens is {draft_tokens}: guess at least one")
    if beams < 1:
        raise ValueError(f"beams is {beams}: keep at least one")
    draws = temperature not in (0, 1) or top_k is not None or top_p is not None
    if beams > 1 and (draws or draft is not None):
        raise ValueError(
            f"{beams} beams take the most probable text and draw nothing: "
            "leave temperature, top_k, top_p and draft out, or use one beam"
        )
