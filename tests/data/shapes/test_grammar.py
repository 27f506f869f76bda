"""Tests of mini_models.shapes: a scene, its captions and its picture say the same."""

import hashlib
import math
from collections import Counter

import numpy as np
import pytest
import torch
from matplotlib.path import Path
from scipy import ndimage
from torch.testing import assert_close

from mini_models.data.shapes import (
    BACKGROUND,
    COLOURS,
    HELD_OUT_PAIRS,
    RELATIONS,
    SHAPES,
    SIZES,
    SPLITS,
    Scene,
    Thing,
    caption,
    captioned,
    coverage,
    distance,
    draw,
    parse,
    scenes,
)
from mini_models.data.shapes.batches import SHAPES_TEXT_LENGTH, ShapesBatches, caption_tokenizer
from mini_models.data.shapes.drawing import _places
from mini_models.data.shapes.grammar import IN_CHINESE, TURNED

EVERYTHING = [scene for split in SPLITS for scene in scenes(split)]
SPOKEN = [(language, turned) for language in ("en", "zh") for turned in (False, True)]
RED, BLUE = Thing("small", "red", "circle"), Thing("large", "blue", "square")


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def words_of(text):
    return text.split() if text.isascii() else list(text)


def every(scene):
    return {caption(scene, language, turned) for language, turned in SPOKEN}


# agrees with an independent implementation

ROUND = np.linspace(0, 2 * np.pi, 721)
DISC = np.stack([np.cos(ROUND), np.sin(ROUND)], 1)
ARC = np.linspace(np.pi, 2 * np.pi + math.atan2(0.6, 0.8), 400)  # from the notch's side to the tip
LOBE = 0.5 * np.stack([1 + np.cos(ARC), np.sin(ARC) - 1], 1)
THIRD = 1 / 3
OUTLINE = {  # corners of polygons, for half a width of 1, and y down; of a ring two of them
    "circle": [DISC],
    "square": [[(-1, -1), (1, -1), (1, 1), (-1, 1)]],
    "triangle": [[(0, -1), (1, 1), (-1, 1)]],
    "ring": [DISC, 0.5 * DISC],
    "cross": [
        [(-1, -THIRD), (-THIRD, -THIRD), (-THIRD, -1), (THIRD, -1), (THIRD, -THIRD), (1, -THIRD)]
        + [(1, THIRD), (THIRD, THIRD), (THIRD, 1), (-THIRD, 1), (-THIRD, THIRD), (-1, THIRD)]
    ],
    "heart": [np.concatenate([LOBE, [(0, 1)], LOBE[::-1] * (-1, 1)])],
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("r", [4.0, 6.9])
def test_a_pixel_is_covered_by_the_share_of_its_points_that_lie_in_the_outline(shape, r):
    fine, x0, y0 = 16, 0.3, -0.2
    pixels = torch.arange(-9, 10.0)
    points = (np.arange(19 * fine) + 0.5) / fine - 9.5
    grid = np.stack(np.meshgrid(points, points), -1).reshape(-1, 2) - (x0, y0)
    inside = [Path(np.asarray(o) * r).contains_points(grid) for o in OUTLINE[shape]]
    share = (inside[0] & ~inside[1] if len(inside) == 2 else inside[0]).reshape(19, fine, 19, fine)
    ours = coverage(shape, pixels - x0, pixels[:, None] - y0, torch.tensor(r)).numpy()
    error = np.abs(ours - share.mean(axis=(1, 3)))
    assert error.max() < 0.26 and error.mean() < 0.009, (error.max(), error.mean())
    assert ours.sum() == pytest.approx(share.sum() / fine**2, rel=0.03)


def test_every_caption_is_read_back_in_both_languages_and_from_both_objects():
    for scene in EVERYTHING:
        assert all(parse(text) == scene for text in every(scene))


def test_the_captions_are_those_that_a_person_would_write():
    scene = Scene(BLUE, "left of", RED)
    assert caption(Scene(RED)) == "a small red circle"
    assert caption(scene) == "a large blue square left of a small red circle"
    assert caption(scene, turned=True) == "a small red circle right of a large blue square"
    assert caption(scene, "zh") == "一个蓝色大方形在一个红色小圆形左边"
    assert caption(scene, "zh", turned=True) == "一个红色小圆形在一个蓝色大方形右边"
    assert parse("A small red circle  BELOW a large blue square") == Scene(BLUE, "above", RED)


# properties


@pytest.mark.parametrize("stored, said", TURNED.items())
def test_scenes_that_look_the_same_are_equal(stored, said):
    one, other = Scene(RED, said, BLUE), Scene(BLUE, stored, RED)
    assert one == other and hash(one) == hash(other) and one.relation == stored
    assert one != Scene(RED, stored, BLUE)
    assert caption(one, turned=True) == f"a small red circle {said} a large blue square"


def test_there_are_as_many_scenes_as_the_grammar_has():
    things = len(SIZES) * len(COLOURS) * len(SHAPES)
    assert len(EVERYTHING) == len(set(EVERYTHING)) == things + len(RELATIONS) * things**2
    assert len(set().union(*map(every, EVERYTHING))) == 2 * things + 4 * len(RELATIONS) * things**2


def test_no_caption_is_in_two_splits_and_every_word_is_in_training():
    texts = {split: set().union(*map(every, scenes(split))) for split in SPLITS}
    train, seen, held_out = texts.values()
    assert not train & seen and not train & held_out and not seen & held_out
    words = {w for text in train for w in words_of(text)}
    assert {w for text in seen | held_out for w in words_of(text)} <= words
    assert words == set(caption_tokenizer().words)
    assert all(set(zh) <= words for zh in IN_CHINESE.values())


def test_what_is_held_out_is_one_shape_of_each_colour_and_every_scene_with_it():
    assert sorted(c for c, _ in HELD_OUT_PAIRS) == sorted(COLOURS)
    assert set(Counter(s for _, s in HELD_OUT_PAIRS).values()) == {1, 2}
    assert {s for _, s in HELD_OUT_PAIRS} == set(SHAPES)
    for split in SPLITS:
        for scene in scenes(split):
            held = [(t.colour, t.shape) in HELD_OUT_PAIRS for t in scene.things]
            assert any(held) == (split == "held_out")
    trained = {(t.colour, t.shape) for scene in scenes("train") for t in scene.things}
    assert len(trained) == 48 - 8  # all others


def test_a_tenth_of_the_scenes_that_could_be_trained_on_is_not():
    for n in (1, 2):
        train, seen = (
            sum(len(s.things) == n for s in scenes(split)) for split in ("train", "seen")
        )
        assert 0.08 < seen / (train + seen) < 0.12


def test_the_splits_are_those_on_which_the_models_of_the_book_were_trained():
    text = "\n".join(caption(scene) for split in SPLITS for scene in scenes(split))
    assert hashlib.sha256(text.encode()).hexdigest().startswith("2c2c6bf96e839493")


def test_no_two_splits_show_the_same_picture():
    pictures = {}
    for split in SPLITS:
        images, captions = captioned(split, 8_000, seed=5)  # all with the same random numbers
        rows = (images * 255).round().byte().flatten(1).numpy()
        pictures[split] = {row.tobytes() for row in rows}
        assert len(pictures[split]) > 7_950
    train, seen, held_out = pictures.values()
    assert not train & seen and not train & held_out and not seen & held_out


def test_pictures_depend_on_the_seed_alone():
    some = EVERYTHING[::40]
    threads = torch.get_num_threads()
    torch.manual_seed(0)
    state = torch.get_rng_state()
    drawn = []
    for n in (1, 2):
        torch.set_num_threads(n)
        drawn.append(draw(some, rng(3)))
    torch.set_num_threads(threads)
    images = drawn[0]
    assert images.shape == (len(some), 3, 32, 32) and images.dtype == torch.float32
    assert images.min() >= 0 and images.max() <= 1
    assert torch.equal(*drawn)
    assert torch.equal(state, torch.get_rng_state())
    assert not torch.equal(images, draw(some, rng(4)))
    assert draw([], rng()).shape == (0, 3, 32, 32)


def test_objects_lie_inside_apart_and_as_their_relation_says():
    two = [scene for scene in EVERYTHING if len(scene.things) == 2][::5]
    x, y, r = _places(two, torch.rand(len(two), 6, generator=rng()))
    assert ((x - r >= 0.4) & (x + r <= 31.6) & (y - r >= 0.4) & (y + r <= 31.6)).all()
    right, down = x[:, 1] - x[:, 0], y[:, 1] - y[:, 0]
    upright = torch.tensor([scene.relation == "above" for scene in two])
    along, across = torch.where(upright, down, right), torch.where(upright, right, down).abs()
    assert (along - r.sum(1) > 2.4).all() and (across <= 0.51 * along).all()
    assert across.max() > 10 and across.min() < 0.1  # and yet they lie freely
    for i, scene in enumerate(two):
        for k, thing in enumerate(scene.things):
            low, high = SIZES[thing.size]
            assert low <= r[i, k] <= high


def test_a_picture_has_as_many_separate_things_as_its_scene():
    some = EVERYTHING[::15]
    differs = (draw(some, rng(2)) - torch.tensor(BACKGROUND)[:, None, None]).abs().amax(1) > 1e-3
    for scene, mask in zip(some, differs.numpy()):
        labels, n = ndimage.label(mask, np.ones((3, 3)))
        assert n == len(scene.things)
        if n == 2:  # at least a whole pixel of background between them
            assert not (ndimage.binary_dilation(labels == 1, np.ones((3, 3))) & (labels == 2)).any()


@pytest.mark.parametrize("colour", COLOURS)
def test_the_middle_of_an_object_has_its_colour(colour):
    some = [Scene(Thing(size, colour, "square")) for size in SIZES for _ in range(20)]
    images, (x, y, _) = draw(some, rng(1)), _places(some, torch.rand(40, 6, generator=rng(1)))
    middle = images[torch.arange(40), :, y[:, 0].long(), x[:, 0].long()]
    assert_close(middle, torch.tensor(COLOURS[colour]).expand(40, 3))


def test_places_and_sizes_of_a_single_object_are_uniform():
    some = [Scene(RED)] * 4000
    x, y, r = (v[:, 0] for v in _places(some, torch.rand(4000, 6, generator=rng())))
    for u in ((x - r - 0.5) / (31 - 2 * r), (y - r - 0.5) / (31 - 2 * r), (r - 4) / 0.8):
        assert_close(u.sort().values, torch.linspace(0, 1, 4000), atol=0.04, rtol=0)
    assert torch.corrcoef(torch.stack([x, y, r])).triu(1).abs().max() < 0.06


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


# refuses


@pytest.mark.parametrize(
    "thing, said",
    [
        (("tiny", "red", "circle"), "'tiny' is not a size: choose one of small, large"),
        (("small", "brown", "circle"), "'brown' is not a colour: choose one of red, orange"),
        (("small", "red", "star"), "'star' is not a shape: choose one of circle, square"),
    ],
)
def test_a_thing_that_the_grammar_lacks_is_refused(thing, said):
    with pytest.raises(ValueError, match=said):
        Thing(*thing)


def test_half_a_scene_and_an_unknown_relation_are_refused():
    with pytest.raises(ValueError, match="the relation is 'left of' and the second object None"):
        Scene(RED, "left of")
    with pytest.raises(ValueError, match="the relation is None .* give both or neither"):
        Scene(RED, None, BLUE)
    with pytest.raises(ValueError, match="'near' is not a relation: choose one of left of, above"):
        Scene(RED, "near", BLUE)


@pytest.mark.parametrize(
    "text",
    ["", "a cat", "small red circle", "a red small circle", "a small red circle left of", "一只猫"]
    + ["a small red circle and a large blue square", "一个红色小圆形在一个蓝色大方形"],
)
def test_a_text_that_is_no_caption_is_refused(text):
    with pytest.raises(ValueError, match=f"'{text}' is no caption: say it as 'a small red circle'"):
        parse(text)


def test_other_splits_languages_shapes_and_numbers_are_refused():
    with pytest.raises(ValueError, match="'test' is not a split: choose one of train, seen, held"):
        scenes("test")
    with pytest.raises(ValueError, match="'fr' is not a language of the captions: choose en or zh"):
        caption(Scene(RED), "fr")
    with pytest.raises(ValueError, match="'fr' is no language of the captions: choose en, zh or"):
        captioned("train", 3, language="fr")
    with pytest.raises(ValueError, match="'fr' is no language of the captions: choose en, zh or"):
        ShapesBatches(3, language="fr")
    with pytest.raises(ValueError, match="'test' is not a split: choose one of train, seen, held"):
        ShapesBatches(3, split="test")
    with pytest.raises(ValueError, match="0 pictures were asked for: ask for at least one"):
        captioned("train", 0)
    with pytest.raises(ValueError, match="'star' is not a shape: choose one of circle, square"):
        distance("star", torch.zeros(1), torch.zeros(1), torch.ones(1))


# learns


def test_a_straight_line_learns_the_colour_from_the_mean_of_the_pixels():
    one = [s for s in scenes("train") if len(s.things) == 1]
    colours = list(COLOURS)

    def batch(seed):
        chosen = [one[i] for i in torch.randint(len(one), (256,), generator=rng(seed))]
        labels = torch.tensor([colours.index(s.first.colour) for s in chosen])
        return 20 * (draw(chosen, rng(seed)).mean((2, 3)) - 0.96), labels

    torch.manual_seed(0)
    line = torch.nn.Linear(3, 8)
    optimizer = torch.optim.Adam(line.parameters(), 0.3)
    for step in range(150):
        x, y = batch(step)
        loss = torch.nn.functional.cross_entropy(line(x), y)
        optimizer.zero_grad(), loss.backward(), optimizer.step()
    x, y = batch(1000)
    assert (line(x).argmax(1) == y).float().mean() > 0.95
