"""Pretraining, measured: what BERT gains from seeing both sides, and from 80/10/10.

Networks of one size learn from the same poems for the same number of steps, and are asked for the
same hidden characters. They differ in what they may see, or in how characters are hidden. A second
question is closer to what BERT is used for, texts in which nothing is hidden: one character of a
poem has been replaced; which?

Source   Devlin et al. 2019, arXiv:1810.04805, section 5.1 and appendix C.2, table 8
"""

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from mini_models.machine.devices import best_device, device_of
from mini_models.masking import Masking, ordinary_ids
from mini_models.recipes import RECIPES
from mini_models.train import train

STEPS, SEEDS = 2000, (0, 1, 2)
VARIANTS = {  # what differs from the recipe
    "both sides, 80/10/10": {},
    "from left to right": {"left_to_right": True},
    "always [MASK]": {"masking": Masking(masked=1.0, random=0.0)},
}


def run(say=print) -> dict:
    """Train every variant from every seed, and ask both questions."""
    recipe = RECIPES["bert-tang"]
    recipe = replace(recipe, train=replace(recipe.train, steps=STEPS))
    found = {"steps": STEPS, "seeds": list(SEEDS), "variants": {}}
    for name, changes in VARIANTS.items():
        runs = found["variants"][name] = []
        for seed in SEEDS:
            task = partial(recipe.task, **changes)
            runs.append(pretrained_figures(replace(recipe, task=task), seed))
            say(f"{name}, seed {seed}: {runs[-1]}")
    return found


def pretrained_figures(recipe, seed: int) -> dict[str, float]:
    """Train one variant; its shares and nats, as `bert.restoration` and `misprints` give them."""
    task = recipe.prepare(seed=seed)
    model = task.model.to(best_device())
    train(model, task.batches, task.loss, replace(recipe.train, seed=seed))
    found = task.measure(model)
    if not recipe.task.keywords.get("left_to_right"):
        poems = torch.cat([whole_of(batch) for batch in task.held_out])
        found["misprints"] = float(misprints(model, poems, task.tokenizer).float().mean())
    return {name: round(value, 4) for name, value in found.items()}


def whole_of(batch) -> Tensor:
    """The ids of a batch as they were before tokens were hidden."""
    inputs, *_, targets = batch
    return torch.where(targets < 0, inputs, targets)


def spoilt(ids: Tensor, tokenizer, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Replace one character of each row by another: the new ids [N, T], and its position [N].

    The other is taken from anywhere in the rows, so that it is not found by being rare.

    Raises: ValueError if the rows have only one character to take.
    """
    draw = torch.Generator().manual_seed(seed)
    may = torch.isin(ids, ordinary_ids(tokenizer, punctuation=False))
    where = torch.rand(ids.shape, generator=draw).masked_fill(~may, -1).argmax(dim=1)  # [N]
    rows = torch.arange(len(ids))
    pool, old = ids[may], ids[rows, where]
    if len(pool.unique()) < 2:
        raise ValueError(f"{len(pool.unique())} different characters: a misprint needs at least 2")
    new = old
    while (same := new == old).any():
        others = pool[torch.randint(len(pool), old.shape, generator=draw)]
        new = torch.where(same, others, new)
    changed = ids.clone()
    changed[rows, where] = new
    return changed, where


@torch.no_grad()
def misprints(model, ids: Tensor, tokenizer, seed: int = 0) -> Tensor:
    """Whether the character that a model finds least probable, of a poem with nothing hidden, is
    the one that was replaced; bool [N].

    Args:
        model: a `BERTForPretraining` that sees both sides.
        ids: int64 [N, T], padded with [PAD].
    """
    changed, where = spoilt(ids, tokenizer, seed)
    (pad,) = tokenizer.encode("[PAD]")
    may = torch.isin(changed, ordinary_ids(tokenizer, punctuation=False))
    found = []
    for rows, ordinary in zip(changed.split(64), may.split(64)):
        rows = rows.to(device_of(model))
        logits, _ = model(rows, attend=rows != pad)  # [B, T, V]
        sure = logits.float().log_softmax(dim=-1).gather(2, rows[..., None])[..., 0].cpu()
        found.append(sure.masked_fill(~ordinary, torch.inf).argmin(dim=1))
    return torch.cat(found) == where
