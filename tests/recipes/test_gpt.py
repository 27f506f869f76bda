"""Tests of mini_models.recipes.gpt: every recipe can be followed, on its own texts and others."""

from dataclasses import replace

import pytest
import torch

from mini_models.data import other_plays, shakespeare, split
from mini_models.gpt import gpt_loss
from mini_models.machine.files import digest
from mini_models.recipes.gpt import RECIPES, all_plays, held_out_batches, nine_plays, quatrains
from mini_models.train import evaluate, train

PROSE = "The quick brown fox jumps over the lazy dog.\n" * 40
VERSES = "\n".join(f"床前明月光，疑是地上霜{i}。" for i in range(30))
TEXTS = {"gpt-shakespeare": all_plays, "gpt-shakespeare-quick": nine_plays,
         "gpt-2022": nine_plays, "gpt-tang": quatrains}  # fmt: skip


def counted(batches) -> int:
    return sum(int((targets != -100).sum()) for _, targets in batches)


# agrees with an independent implementation


def test_gpt_2022_is_the_published_plain_recipe():
    recipe = RECIPES["gpt-2022"]
    m, t = recipe.model, recipe.train
    assert (m.n_layers, m.d_model, m.context_length, m.positions) == (4, 128, 64, "learned")
    assert (t.steps, t.optimizer, t.schedule, recipe.batch_size) == (2000, "adamw", "cosine", 12)


def test_every_held_out_character_but_the_first_is_predicted_once():
    task = RECIPES["gpt-shakespeare-quick"].prepare()
    assert counted(task.held_out) == len(split(shakespeare())[1]) - 1


# properties


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_ready_to_train_with_its_published_data(name):
    recipe = RECIPES[name]
    task = recipe.prepare()
    inputs, targets = task.batches[0]
    assert inputs.shape == targets.shape and len(inputs) == recipe.batch_size
    assert inputs.max() < task.model.config.vocab_size == task.tokenizer.vocab_size
    assert inputs.shape[1] <= task.model.config.context_length
    assert task.data_sha256 == digest(*TEXTS[name]())


def test_the_shakespeare_recipe_never_trains_on_what_it_is_measured_on():
    train_text, held_out = all_plays()
    assert held_out == split(shakespeare())[1]
    assert train_text == split(shakespeare())[0] + other_plays()
    shared = {line for line in held_out.split("\n") if len(line) > 30} & set(train_text.split("\n"))
    assert len(shared) == 0


def test_the_tang_recipe_shares_no_line_with_what_it_is_measured_on():
    train_text, held_out = quatrains()
    assert not set(train_text.split("\n")) & set(held_out.split("\n"))


def test_the_same_seed_makes_the_same_task_and_another_seed_another():
    recipe = RECIPES["gpt-shakespeare-quick"]
    a, b, c = recipe.prepare(PROSE), recipe.prepare(PROSE), recipe.prepare(PROSE, seed=1)
    assert torch.equal(a.model.tokens.weight, b.model.tokens.weight)
    assert torch.equal(a.batches[3][0], b.batches[3][0])
    assert not torch.equal(a.model.tokens.weight, c.model.tokens.weight)


def test_a_text_of_ones_own_brings_its_own_alphabet_and_last_tenth():
    task = RECIPES["gpt-shakespeare-quick"].prepare(PROSE)
    assert task.tokenizer.characters == sorted(set(PROSE))
    assert counted(task.held_out) == len(PROSE) // 10 - 1


def test_a_recipe_of_lines_takes_each_line_as_a_text_of_its_own():
    task = RECIPES["gpt-tang"].prepare(VERSES)
    inputs, targets = task.batches[0]
    stop = task.tokenizer.encode("\n")[0]
    assert (inputs[:, 0] == stop).all()
    assert ((targets == stop).sum(dim=1) == 1).all()  # every line ends once
    assert task.model.config.context_length == max(map(len, VERSES.split("\n"))) + 1


def test_held_out_batches_of_lines_count_each_character_and_each_end():
    task = RECIPES["gpt-tang"].prepare(VERSES)
    lines = VERSES.split("\n")[-3:]
    batches = held_out_batches("\n".join(lines), task.tokenizer, 99, lines=True)
    assert counted(batches) == sum(len(line) + 1 for line in lines)


# refuses


def test_a_text_that_is_too_short_is_refused():
    with pytest.raises(ValueError, match="the text has 5 characters"):
        RECIPES["gpt-shakespeare-quick"].prepare("short")
    with pytest.raises(ValueError, match="a context of 64 needs at least 65"):
        RECIPES["gpt-shakespeare-quick"].prepare("not much longer than that")
    with pytest.raises(ValueError, match="the text has 3 lines: this recipe needs at least 10"):
        RECIPES["gpt-tang"].prepare("a\nb\nc")


def test_a_line_that_is_too_long_is_refused_where_lines_are_texts():
    with pytest.raises(ValueError, match="a line of the text has 600 characters"):
        RECIPES["gpt-tang"].prepare(VERSES + "\n" + "长" * 600)


# learns


def test_the_quick_recipe_learns_a_repeated_sentence_in_seconds():
    recipe = RECIPES["gpt-shakespeare-quick"]
    recipe = replace(recipe, train=replace(recipe.train, steps=60))
    task = recipe.prepare(PROSE)
    before = evaluate(task.model, task.held_out, gpt_loss)
    train(task.model, task.batches, gpt_loss, recipe.train)
    after = evaluate(task.model, task.held_out, gpt_loss)
    assert before > 3 and after < 0.5
