"""Fine-tuning, measured: what a pretrained body is worth, for how many labels.

Each job is done with a body that stays as it is and with one that is tuned, from a few labels to
all, and by a linear model of scikit-learn that has never read anything else.

Source   Devlin et al. 2019, arXiv:1810.04805, sections 4 and 5.3, appendix A.3
"""

import copy
import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from sklearn.metrics import accuracy_score

from mini_models import data, zoo
from mini_models.data.film_reviews import film_reviews
from mini_models.data.labelled import Labelled, renamed
from mini_models.data.person_names import gold, silver
from mini_models.data.squad import squad_scores
from mini_models.data.stories import stories
from mini_models.experiments import baselines
from mini_models.finetune import examples, heads
from mini_models.machine.devices import best_device
from mini_models.pretrained.minilm import minilm
from mini_models.train import TrainConfig
from mini_models.transformer import init_weights

NUMBERS_OF_LABELS = {16: (0, 1, 2), 64: (0, 1, 2), 256: (0, 1, 2), 1024: (0, 1), 10_000: (0,)}
# labels, and the seeds to try with so many; 10,000 are all that there are
CLASSES, TAGS = ("bad", "good"), ("O", "B-PER", "I-PER")
POETS = 8  # those with most quatrains


@dataclass(frozen=True)
class Job:
    """One use of a pretrained body."""

    body: Callable  # () -> (BERT, tokenizer)
    head: Callable  # d_model -> a head
    texts: Callable  # () -> (train, held_out), two sequences
    encode: Callable  # (texts, tokenizer, context_length) -> examples
    scores: Callable  # (held_out, examples, logits) -> {name: share}, the first what counts
    baseline: Callable  # (train, held_out) -> the same, by scikit-learn
    lr: float = 1e-4
    batch_size: int = 32  # with more than 256 labels, else 8
    epochs: int = 3


def class_scores(held_out: Sequence[Labelled], encoded, logits) -> dict[str, float]:
    truth, best = [e.target for e in encoded], [int(row.argmax()) for row in logits]
    return {"accuracy": float(accuracy_score(truth, best))}


@cache
def quatrains_by_poet() -> tuple[list[Labelled], list[Labelled]]:
    """Tang quatrains of the poets with most of them, and others to tell the poet of."""
    train, held_out = data.split(data.tang_quatrains())
    most = [poet for poet, _ in Counter(p.author for p in train).most_common(POETS)]
    both = [[Labelled(p.text, p.author) for p in part if p.author in most]
            for part in (train, held_out)]  # fmt: skip
    return tuple(both)


@cache
def poets() -> tuple[str, ...]:
    return tuple(sorted({poem.label for poem in quatrains_by_poet()[0]}))


def tang_body():
    """The body of bert-tang, with a fresh pooler: its own was never asked anything, and decay has
    left nothing of it."""
    model, tokenizer = zoo.load("bert-tang")
    torch.manual_seed(0)
    init_weights(model.bert.pooler, 1, std=model.config.d_model**-0.5)
    return model.bert, tokenizer


def of_tags(texts, tokenizer, context_length):
    return examples.of_words(texts, tokenizer, TAGS, context_length)


def tag_scores(held_out, encoded, logits):
    return baselines.entity_scores(held_out, examples.tags_of(encoded, logits, TAGS))


def of_stories(texts, tokenizer, context_length):
    return examples.of_questions(texts, tokenizer, min(context_length, 192))


def span_scores(held_out, encoded, logits):
    return baselines.f1_first(
        squad_scores(examples.answers_of(encoded, logits, held_out), held_out)
    )


JOBS = {
    "sentiment": Job(
        cache(minilm), lambda d: heads.SequenceHead(d, len(CLASSES)), film_reviews,
        lambda texts, tokenizer, T: examples.of_texts(texts, tokenizer, CLASSES, T),
        class_scores, baselines.linear_text,
    ),
    "names": Job(
        cache(minilm), lambda d: heads.TokenHead(d, len(TAGS)), lambda: (silver("train"), gold()),
        of_tags, tag_scores, baselines.linear_tags,
    ),
    "renamed": Job(
        cache(minilm), lambda d: heads.TokenHead(d, len(TAGS)),
        lambda: (renamed(silver("train")), gold()),
        of_tags, tag_scores, baselines.linear_tags,
    ),
    "answers": Job(
        cache(minilm), heads.SpanHead, lambda: (stories("train", 2000), stories("held_out", 400)),
        of_stories, span_scores,
        baselines.linear_spans, lr=3e-4, batch_size=16,
    ),
    "poets": Job(
        cache(tang_body), lambda d: heads.SequenceHead(d, POETS), quatrains_by_poet,
        lambda texts, tokenizer, T: examples.of_texts(texts, tokenizer, poets(), T),
        class_scores, lambda train, held_out: baselines.linear_text(train, held_out, "char"),
        lr=3e-4, batch_size=16, epochs=10,
    ),
}  # fmt: skip


def some(texts: Sequence, n: int, seed: int) -> list:
    """n of the texts, drawn at random; all of them if there are no more."""
    return random.Random(seed).sample(list(texts), min(n, len(texts)))


def tuned_scores(job: Job, n: int, frozen: bool, seed: int) -> dict[str, float]:
    """Fine-tune on n labels, and score on everything held out."""
    (body, tokenizer), (train, held_out) = job.body(), job.texts()
    torch.manual_seed(seed)
    model = heads.FineTuned(copy.deepcopy(body), job.head(body.config.d_model)).to(best_device())
    T = body.config.context_length
    chosen = job.encode(some(train, n, seed), tokenizer, T)
    B = job.batch_size if n > 256 else 8
    heads.finetune(model, chosen, config_for(job, len(chosen), B, frozen, seed), B, frozen)
    encoded = job.encode(held_out, tokenizer, T)
    return job.scores(held_out, encoded, heads.predict(model, encoded))


def config_for(job: Job, n: int, batch_size: int, frozen: bool, seed: int) -> TrainConfig:
    """The job's epochs, or sixty steps if that is more; for a head alone 300, at a higher rate."""
    steps = 300 if frozen else max(60, math.ceil(job.epochs * n / batch_size))
    return TrainConfig(
        steps=steps, lr=5e-3 if frozen else job.lr,
        warmup=steps // 10, decay=0.9, betas=(0.9, 0.999), weight_decay=0.01, seed=seed,
    )  # fmt: skip


def run(say=print) -> dict:
    """Every job: its baseline, then from few labels to all, frozen and tuned."""
    return {name: measure_job(name, job, say) for name, job in JOBS.items()}


def measure_job(name: str, job: Job, say) -> dict:
    train, held_out = job.texts()
    sizes = {min(n, len(train)): seeds for n, seeds in NUMBERS_OF_LABELS.items()}
    found = {"train": len(train), "held_out": len(held_out), "sizes": list(sizes),
             "baseline": {}, "frozen": {}, "tuned": {}}  # fmt: skip
    for n, seeds in sizes.items():
        found["baseline"][n] = [rounded(job.baseline(some(train, n, s), held_out)) for s in seeds]
        for how in ("frozen", "tuned"):
            found[how][n] = [rounded(tuned_scores(job, n, how == "frozen", s)) for s in seeds]
            say(f"{name}, {n} labels, {how}: {found[how][n]}")
    return found


def rounded(scores: dict[str, float]) -> dict[str, float]:
    return {name: round(float(value), 4) for name, value in scores.items()}
