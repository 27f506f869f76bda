"""Tests of mini_models.data.shapes.batches: captions are right, wrong, or nearly right, as they
should be."""

import random
from collections import Counter

import pytest
import torch
from torch.testing import assert_close

from mini_models.data.shapes import (
    HELD_OUT_PAIRS,
    SPLITS,
    Scene,
    Thing,
    caption,
    captioned,
    oracle,
    parse,
    scenes,
)
from mini_models.data.shapes.batches import (
    SHAPES_TEXT_LENGTH,
    MatchingBatches,
    NearPairs,
    ShapesBatches,
    altered,
    caption_tokenizer,
    english_tokenizer,
    nearly,
)

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


def fewest_differences(one: Scene, other: Scene) -> int:
    """Sizes, colours, shapes and relations in which two scenes of as many objects differ."""
    options = []
    for things, relation in (
        (other.things, other.relation),
        (other.things[::-1], {"left of": "right of", "above": "below"}.get(other.relation)),
    ):
        count = sum(
            getattr(a, word) != getattr(b, word)
            for a, b in zip(one.things, things, strict=True)
            for word in ("size", "colour", "shape")
        )
        options.append(count + (relation != one.relation))
    return min(options) if one.second else min(options[:1])


# agrees with an independent implementation


def test_the_captions_say_what_the_pictures_show():
    images, ids, wrong = MatchingBatches(64, ramp=0)[5]
    seen = oracle.scenes_in(images)
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


def test_no_two_splits_show_the_same_picture():
    pictures = {}
    for split in SPLITS:
        images, captions = captioned(split, 8_000, seed=5)  # all with the same random numbers
        rows = (images * 255).round().byte().flatten(1).numpy()
        pictures[split] = {row.tobytes() for row in rows}
        assert len(pictures[split]) > 7_950
    train, seen, held_out = pictures.values()
    assert not train & seen and not train & held_out and not seen & held_out


def test_a_third_of_the_pictures_shows_one_object_and_captions_start_from_either():
    _, captions = captioned("train", 6000, language="both")
    one = sum(len(parse(text).things) == 1 for text in captions) / 6000
    zh = sum(not text.isascii() for text in captions) / 6000
    two = [text for text in captions if len(parse(text).things) == 2]
    turned = sum(text not in {caption(parse(text), g) for g in ("en", "zh")} for text in two)
    assert one == pytest.approx(1 / 3, abs=0.03)
    assert zh == pytest.approx(1 / 2, abs=0.03) and turned / len(two) == pytest.approx(
        0.5, abs=0.03
    )


def test_a_batch_depends_on_its_step_and_seed_alone_and_is_never_drawn_twice():
    batches, again, other = (ShapesBatches(8, seed, "both") for seed in (0, 0, 1))
    in_order = [batches[step] for step in range(6)]
    for step in reversed(range(6)):  # as after a resume
        assert_close(again[step], in_order[step])
        assert not torch.equal(other[step][0], in_order[step][0])
    measured = [
        captioned("train", 8, seed, "both") for seed in range(100)
    ]  # and seeds in use are others
    pictures = {image.numpy().tobytes() for images, _ in in_order + measured for image in images}
    assert len(pictures) == 48 + 800


@pytest.mark.parametrize("language", SHAPES_TEXT_LENGTH)
def test_the_ids_of_a_batch_are_captions_of_the_split_at_full_length(language):
    batches = ShapesBatches(300, language=language, split="seen")
    images, ids = batches[0]
    assert images.shape == (300, 3, 32, 32)
    assert ids.shape == (300, SHAPES_TEXT_LENGTH[language]) and ids.dtype == torch.int64
    assert {parse(batches.tokenizer.decode(row)) for row in ids} <= set(scenes("seen"))
    assert (ids[:, -1] > 0).any() and (ids[:, -1] == 0).any()  # no column too many


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("language", ["en", "zh", "both"])
def test_shapes_are_pictures_of_a_split_with_their_captions(split, language):
    images, captions = captioned(split, 200, seed=3, language=language)
    assert images.shape == (200, 3, 32, 32) and images.dtype == torch.float32
    assert {parse(text) for text in captions} <= set(scenes(split))
    spoken = {"en" if text.isascii() else "zh" for text in captions}
    assert spoken == ({"en", "zh"} if language == "both" else {language})
    again, other = captioned(split, 200, 3, language), captioned(split, 200, 4, language)
    assert torch.equal(again[0], images) and again[1] == captions
    assert not torch.equal(other[0], images) and other[1] != captions


def test_half_of_the_pairs_are_nearly_the_other_half():
    images, ids, labels = NearPairs(32)[7]
    assert images.shape == (32, 3, 32, 32) and ids.shape == (32, 19) and labels.shape == (32,)
    said = [parse(caption_tokenizer().decode(row)) for row in ids]
    assert set(said) <= set(scenes("train"))
    for one, other in zip(said[:16], said[16:]):
        assert fewest_differences(one, other) == 1
    for label, scene in zip(labels.tolist(), said):
        assert scenes("train")[label] == scene


def test_near_pairs_repeat_and_speak_both_languages():
    for pairs in (NearPairs(16), NearPairs(16, near=False)):
        for one, same in zip(pairs[3], pairs[3]):
            assert torch.equal(one, same)
        assert not torch.equal(pairs[3][1], pairs[4][1])
    ids = NearPairs(64)[0][1]
    words = {word for row in ids for word in caption_tokenizer().decode(row)}
    assert {"红", "a"} <= words
    assert not torch.equal(NearPairs(16, seed=1)[0][1], NearPairs(16)[0][1])


def test_an_altered_scene_differs_in_one_thing():
    draws = random.Random(0)
    for scene in random.Random(1).sample(scenes("held_out"), 40) + scenes("held_out")[:16]:
        assert fewest_differences(scene, altered(scene, draws)) == 1


# refuses


def test_an_odd_batch_is_refused():
    with pytest.raises(ValueError, match="a batch of 9 has no halves: give an even number"):
        NearPairs(9)


def test_other_splits_and_languages_and_no_picture_are_refused():
    with pytest.raises(ValueError, match="'fr' is no language of the captions: choose en, zh or"):
        captioned("train", 3, language="fr")
    with pytest.raises(ValueError, match="'fr' is no language of the captions: choose en, zh or"):
        ShapesBatches(3, language="fr")
    with pytest.raises(ValueError, match="'test' is not a split: choose one of train, seen, held"):
        ShapesBatches(3, split="test")
    with pytest.raises(ValueError, match="0 pictures were asked for: ask for at least one"):
        captioned("train", 0)


# learns


def test_a_thing_alone_is_never_altered_into_two():
    alone = Scene(Thing("small", "red", "ring"))
    assert all(altered(alone, random.Random(i)).second is None for i in range(20))
