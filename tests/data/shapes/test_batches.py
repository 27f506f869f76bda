"""Tests of mini_models.matching_data: a wrong caption is wrong, and a near one nearly right."""

import random
from collections import Counter

import torch
from torch.testing import assert_close

from mini_models.data.shapes import HELD_OUT_PAIRS, caption, oracle, parse, scenes
from mini_models.data.shapes.batches import MatchingBatches, english_tokenizer, nearly

TRAIN = scenes("train")


def said(ids):
    return [parse(english_tokenizer().decode(row)) for row in ids]


def differences(a, b):
    """How many sizes, colours, shapes and relations differ; both scenes as they are stored."""
    things = sum(
        getattr(x, k) != getattr(y, k)
        for x, y in zip(a.things, b.things)
        for k in ("size", "colour", "shape")
    )
    return things + (a.relation != b.relation)


# agrees with an independent implementation


def test_the_captions_say_what_the_pictures_show():
    images, ids, wrong = MatchingBatches(64, ramp=0)[5]
    seen = oracle.read(images)
    assert seen == said(ids)
    assert all(a != b for a, b in zip(seen, said(wrong)))


def test_the_words_are_those_of_the_english_captions():
    words = {w for s in TRAIN for t in (False, True) for w in caption(s, "en", t).split()}
    assert english_tokenizer().words == sorted(words)


# properties


def test_a_scene_that_is_nearly_this_one_differs_in_one_thing_and_is_of_training():
    known, draws = set(TRAIN), random.Random(0)
    changed = Counter()
    for scene in TRAIN[::40]:
        other = nearly(scene, draws)
        assert other in known and other != scene
        assert len(other.things) == len(scene.things)
        swapped = scene.second is not None and differences(scene, other) != 1
        if swapped:  # "A left of B" has become "B left of A", or A above or below B
            assert {*other.things} == {*scene.things}
        changed["relation" if swapped or scene.relation != other.relation else "thing"] += 1
    assert min(changed["relation"], changed["thing"]) > 20


def test_a_scene_that_comes_twice_in_a_batch_is_not_called_wrong():
    batches = MatchingBatches(64, objects=1, ramp=10**9)  # only 72 scenes, so many come twice
    for step in range(10):
        _, ids, wrong = batches[step]
        assert all(a != b for a, b in zip(said(ids), said(wrong)))


def test_wrong_captions_never_hold_a_pair_that_is_held_out():
    for step in range(20):
        for scene in said(MatchingBatches(32, ramp=0)[step][2]):
            assert all((t.colour, t.shape) not in HELD_OUT_PAIRS for t in scene.things)


def test_near_captions_come_by_and_by():
    batches = MatchingBatches(64, ramp=100)

    def near(step):
        _, ids, wrong = batches[step]
        pairs = zip(said(ids), said(wrong))
        return sum(len(a.things) == len(b.things) and differences(a, b) == 1 for a, b in pairs) / 64

    assert near(0) < 0.1 and near(100) > 0.25
    assert sum(map(near, range(100, 110))) / 10 > sum(map(near, range(45, 55))) / 10 + 0.05


def test_a_step_is_always_the_same_and_every_step_another():
    one, again = MatchingBatches(8)[3], MatchingBatches(8)[3]
    for a, b in zip(one, again):
        assert_close(a, b)
    assert not torch.equal(one[0], MatchingBatches(8)[4][0])
    assert not torch.equal(one[0], MatchingBatches(8, seed=1)[3][0])


def test_pictures_of_so_many_objects_alone():
    for objects in (1, 2):
        assert all(
            len(s.things) == objects for s in said(MatchingBatches(32, objects=objects)[0][1])
        )
    both = Counter(len(s.things) for s in said(MatchingBatches(600)[0][1]))
    assert 150 < both[1] < 250
