"""In context: a task is learned from examples in the prompt, and no weight changes.

Shapes   B questions asked at once, T tokens, V vocabulary size, N questions, C labels
Source   Brown et al. 2020, arXiv:2005.14165, section 2 (zero-, one- and few-shot); Zhao et al.
         2021, arXiv:2102.09690, section 5 (calibration); Rajpurkar et al. 2016,
         arXiv:1606.05250, section 6.1 (the F1 score)
Derived  notebooks/10_in_context.ipynb
"""

import copy
import json
import random
import re
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mini_models import corpora

SHOTS = (0, 1, 2, 4, 8)  # k, how many examples the prompt holds
POOL = 16  # pairs of each task that may serve as examples; all others are asked
WORD_TASKS = ("opposite", "plural", "past tense", "capital", "French word")
LABELS = (" positive", " negative")  # each one token
CONTENT_FREE = ("N/A", "[MASK]", "")  # Zhao et al. 2021, section 5
START = "<|endoftext|>"  # stands between two documents in SmolLM2's training
END = re.compile(r"\n|<\|im_end\|>")  # of an answer


@dataclass(frozen=True)
class PromptTask:
    """Pairs of a question and its answer, and how a prompt writes them down."""

    about: str  # what is to be done, in a sentence
    between: str  # stands between two examples
    before: str  # a question is written as before + question + after
    after: str
    pairs: tuple[tuple[str, str], ...]

    @property
    def pool(self):
        return self.pairs[:POOL]

    @property
    def asked(self):
        return self.pairs[POOL:]

    def shots(self, k: int, draw: int) -> list[tuple[str, str]]:
        """k pairs of the pool; those of a smaller k and the same draw are the first of them."""
        if not 0 <= k <= POOL:
            raise ValueError(f"{k} shots were asked for: the pool holds {POOL}")
        return random.Random(draw).sample(self.pool, POOL)[:k]

    def prefix(self, shots, about: bool = False) -> str:
        """What stands before the question: the sentence, if wanted, and the examples."""
        told = [self.about] if about else []
        return self.between.join(told + [f"{self.question(x)} {y}" for x, y in shots])

    def question(self, x: str) -> str:
        return self.before + x + self.after


def tasks() -> dict[str, PromptTask]:
    """Every task of the chapter by its name; the pairs were written for this book."""
    text = corpora.read("in_context.json")
    return {
        name: PromptTask(**{**told, "pairs": tuple(map(tuple, told["pairs"]))})
        for name, told in json.loads(text).items()
    }


class SharedPrefix:
    """A model that has read the beginning of a prompt, once for all questions that follow it.

    START is put before that beginning, the prefix.
    """

    @torch.inference_mode()
    def __init__(self, model, tokenizer, prefix: str):
        self.model, self.tokenizer = model, tokenizer
        ids = torch.tensor([tokenizer.encode(START + prefix)], device=model.device)
        self.read, self.memory = ids.shape[1], model(ids, logits_to_keep=1).past_key_values

    def ask(self, questions: list[str]):
        """The memory, the ids [B, T] padded on the left, and the mask [B, read + T]."""
        ids = [self.tokenizer.encode(q) for q in questions]
        T = max(map(len, ids))
        padded = [[self.tokenizer.pad_token_id] * (T - len(i)) + i for i in ids]
        seen = [[1] * self.read + [0] * (T - len(i)) + [1] * len(i) for i in ids]
        memory = copy.deepcopy(self.memory)
        memory.batch_repeat_interleave(len(ids))
        device = self.model.device
        return memory, torch.tensor(padded, device=device), torch.tensor(seen, device=device)

    def next_logits(self, memory, ids: Tensor, seen: Tensor) -> Tensor:
        """Logits [B, V] of the token after ids [B, T]; memory then holds them too."""
        places = (seen.cumsum(1) - 1)[:, -ids.shape[1] :].clamp(min=0)  # padding does not count
        out = self.model(
            ids, attention_mask=seen, position_ids=places, past_key_values=memory,
            logits_to_keep=1,
        )  # fmt: skip
        return out.logits[:, -1]


@torch.inference_mode()
def complete(model, tokenizer, prefix: str, questions, max_new_tokens: int = 6) -> list[str]:
    """The most probable continuation of prefix + question, for each question, up to a line's end.

    Args:
        model, tokenizer: as `pretrained.smollm2.smollm2` gives them.
        prefix: what all prompts begin with; it is read only once.
        questions: what each goes on with.
    Returns: the answers, without the spaces around them.
    """
    shared = SharedPrefix(model, tokenizer, prefix)
    memory, ids, seen = shared.ask(questions)
    written, going = [[] for _ in questions], list(range(len(questions)))
    for _ in range(max_new_tokens):
        ids = shared.next_logits(memory, ids, seen).argmax(dim=-1, keepdim=True)  # [B, 1]
        seen = torch.cat([seen, torch.ones_like(ids)], dim=1)
        for row, token in zip(going, ids[:, 0].tolist()):
            written[row].append(token)
        # a row whose answer has ended leaves the batch
        rest = [i for i, row in enumerate(going) if not END.search(tokenizer.decode(written[row]))]
        if not rest:
            break
        memory.batch_select_indices(torch.tensor(rest, device=ids.device))
        ids, seen, going = ids[rest], seen[rest], [going[i] for i in rest]
    return [END.split(tokenizer.decode(row))[0].strip() for row in written]


@torch.inference_mode()
def label_scores(model, tokenizer, prefix: str, questions, labels=LABELS) -> Tensor:
    """ln p(label | prefix + question), up to a constant of each row; float [N, C].

    Raises: ValueError if a label is not one token.
    """
    ids = [tokenizer.encode(label) for label in labels]
    if any(len(i) != 1 for i in ids):
        raise ValueError(f"the labels {', '.join(labels)} must be one token each: choose others")
    shared = SharedPrefix(model, tokenizer, prefix)
    return shared.next_logits(*shared.ask(questions))[:, [i[0] for i in ids]]


def calibrate(scores: Tensor, content_free: Tensor) -> Tensor:
    """Probabilities in which an input without content speaks for no label; [N, C].

    p / p_cf, scaled to add up to 1, where p_cf is the mean over content-free inputs. It ranks the
    labels as the diagonal W with b = 0 of Zhao et al. 2021, section 5, does.

    Args:
        scores: ln p of each label, up to a constant of each row, [N, C].
        content_free: the same for content-free inputs after the same examples, [M, C].
    """
    p = scores.softmax(dim=-1) / content_free.softmax(dim=-1).mean(dim=0)
    return p / p.sum(dim=-1, keepdim=True)


def interval(outcomes, times: int = 2000, seed: int = 0) -> tuple[float, float]:
    """The middle 95 % of the mean, were other questions asked after other examples.

    A bootstrap over both: each repetition draws, for each task anew, as many draws and as many
    questions as there are, with replacement, and takes the mean over the tasks' means.

    Args:
        outcomes: for each task, scores [draws, questions].
    """
    rng = np.random.default_rng(seed)
    means = np.zeros(times)
    for scores in map(np.asarray, outcomes):
        D, Q = scores.shape
        draws, asked = rng.integers(D, size=(times, D, 1)), rng.integers(Q, size=(times, 1, Q))
        means += scores[draws, asked].mean(axis=(1, 2)) / len(outcomes)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
