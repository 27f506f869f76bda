"""Tests of mini_models.data.shapes.oracle: it reads what was drawn, through noise, and no more."""

import random
from dataclasses import replace

import pytest
import torch
from scipy import ndimage

from mini_models.data.shapes import (
    BACKGROUND,
    COLOURS,
    SHAPES,
    SIZES,
    SPLITS,
    Scene,
    Thing,
    caption,
    captioned,
    draw,
    oracle,
    scenes,
)

RED, BLUE = Thing("small", "red", "circle"), Thing("large", "blue", "square")
GROUND = torch.tensor(BACKGROUND)[:, None, None]


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def blurred(images, sigma):
    return torch.from_numpy(ndimage.gaussian_filter(images.numpy(), (0, 0, sigma, sigma)))


def some(split="train", n=400, objects=(1, 2)):
    """Scenes of a split, as many of one object as of two."""
    groups = [[s for s in scenes(split) if len(s.things) == k] for k in objects]
    return [random.Random(i).choice(groups[i % len(groups)]) for i in range(n)]


def share_read(images):
    return sum(scene is not None for scene in oracle.scenes_in(images)) / len(images)


def right_and_wrong(images, drawn):
    seen = oracle.scenes_in(images.clamp(0, 1))
    right = sum(a == b for a, b in zip(seen, drawn))
    wrong = sum(a is not None and a != b for a, b in zip(seen, drawn))
    return right / len(drawn), wrong / len(drawn)


# agrees with what was drawn


@pytest.mark.parametrize("split", SPLITS)
def test_what_is_drawn_is_read(split):
    drawn = some(split, 1000)
    assert oracle.scenes_in(draw(drawn, rng(1))) == drawn


def test_every_object_is_read_at_every_size_and_place():
    drawn = [Scene(Thing(s, c, f)) for s in SIZES for c in COLOURS for f in SHAPES] * 8
    assert oracle.scenes_in(draw(drawn, rng(2))) == drawn


def test_pictures_of_a_split_show_their_captions():
    images, captions = captioned("train", 300, language="both")
    assert oracle.exact_match(images, captions).all()
    assert not oracle.exact_match(images, captions[1:] + captions[:1]).float().mean() > 0.02


# properties


@pytest.mark.parametrize("sigma, least", [(0.05, 0.99), (0.1, 0.98), (0.15, 0.9)])
def test_noise_leaves_pictures_readable(sigma, least):
    drawn = some("held_out")
    images = draw(drawn, rng(3))
    right, wrong = right_and_wrong(
        images + sigma * torch.randn(images.shape, generator=rng(4)), drawn
    )
    assert right >= least and wrong <= 0.005, (right, wrong)


@pytest.mark.parametrize("sigma, least", [(0.5, 0.995), (0.8, 0.99), (1.0, 0.98)])
def test_blur_leaves_pictures_readable(sigma, least):
    drawn = some("held_out")
    right, wrong = right_and_wrong(blurred(draw(drawn, rng(5)), sigma), drawn)
    assert right >= least and wrong <= 0.005, (right, wrong)


def test_steps_of_brightness_leave_pictures_readable():
    drawn = some("held_out")
    right, wrong = right_and_wrong((draw(drawn, rng(6)) * 7).round() / 7, drawn)
    assert right >= 0.99 and wrong == 0


def test_the_more_noise_the_fewer_pictures_are_read_and_hardly_one_is_read_wrong():
    drawn = some("seen", 200)
    images = draw(drawn, rng(7))
    noise = torch.randn(images.shape, generator=rng(8))
    pairs = [right_and_wrong(images + sigma * noise, drawn) for sigma in (0.1, 0.2, 0.3, 0.5)]
    rights, wrongs = zip(*pairs)
    assert list(rights) == sorted(rights, reverse=True) and rights[-1] < 0.05
    assert max(wrongs) < 0.02


def test_a_change_of_one_attribute_changes_the_reading():
    for thing in some(n=60, objects=(1,)):
        thing = thing.first
        others = [replace(thing, size=s) for s in SIZES]
        others += [replace(thing, colour=c) for c in COLOURS]
        others += [replace(thing, shape=f) for f in SHAPES]
        drawn = [Scene(t) for t in dict.fromkeys(others)]  # in the same place, but for the size
        torch.manual_seed(0)
        seen = oracle.scenes_in(torch.cat([draw([scene], rng(9)) for scene in drawn]))
        assert seen == drawn and len(set(seen)) == len(drawn) == 1 + 1 + 7 + 5


def test_objects_that_change_places_change_the_relation():
    images = draw([Scene(RED, "left of", BLUE)] * 20, rng(10))
    mirrored, turned = images.flip(3), images.transpose(2, 3)
    assert set(oracle.scenes_in(mirrored)) == {Scene(RED, "right of", BLUE)}
    assert set(oracle.scenes_in(turned)) == {Scene(RED, "above", BLUE)}
    assert set(oracle.scenes_in(turned.flip(2))) == {Scene(RED, "below", BLUE)}


def test_a_picture_is_read_the_same_in_any_company():
    images = draw(some(n=50), rng(11))
    noisy = (images + 0.15 * torch.randn(images.shape, generator=rng(12))).clamp(0, 1)
    alone = [oracle.scenes_in(image[None])[0] for image in noisy]
    assert oracle.scenes_in(noisy) == alone
    assert oracle.scenes_in(noisy.double()) == alone
    assert oracle.scenes_in(noisy.requires_grad_()) == alone
    assert oracle.scenes_in(images[:0]) == []


# it is strict


def one_object(n=300, seed=0):
    return draw(some("train", n, objects=(1,)), rng(seed))


def halfway(n=300):
    """Objects in the middle between the two colours that are most alike to each other."""
    names = list(COLOURS)
    paint = torch.tensor(list(COLOURS.values())) - torch.tensor(BACKGROUND)
    unit = paint / paint.norm(dim=1, keepdim=True)
    nearest = (unit @ unit.T - 2 * torch.eye(8)).argmax(1)
    drawn = some("train", n, objects=(1,))
    k = torch.tensor([names.index(scene.first.colour) for scene in drawn])
    cover = ((draw(drawn, rng(13)) - GROUND) * paint[k, :, None, None]).sum(1, keepdim=True)
    cover = cover / paint[k].square().sum(1)[:, None, None, None]
    return GROUND + cover * ((paint[k] + paint[nearest[k]]) / 2)[:, :, None, None]


def cut(images):
    """Without what lies right of the middle of each object."""
    there = (images - GROUND).abs().amax(1) > 0.1  # [N, 32, 32]
    columns = torch.arange(32.0)
    middle = (there.any(1) * columns).sum(1) / there.any(1).sum(1)
    return torch.where((columns < middle[:, None])[:, None, None, :], images, GROUND)


def three(n=300):
    row = [draw([Scene(Thing("small", c, "circle"))] * n, rng(i)) for i, c in enumerate(COLOURS)]
    images = GROUND.repeat(n, 1, 32, 32)
    for k, picture in enumerate(row[:3]):  # each moved to a place of its own
        there = (picture - GROUND).abs().amax(1) > 1e-3
        for i in range(n):
            y, x = (int(there[i].any(d).int().argmax()) for d in (1, 0))
            images[i] += (picture[i] - GROUND).roll((1 - y, 1 + 10 * k - x), (1, 2))
    return images


def shrunk(images):
    return GROUND + torch.nn.functional.pad(images[:, :, ::2, ::2] - GROUND, (8,) * 4)


def blob(n=300):
    x = torch.arange(32.0) - 15.5
    width = 3 + 2 * torch.rand(n, 1, 1, generator=rng(14))
    cover = torch.exp(-(x**2 + x[:, None] ** 2) / (2 * width**2))
    colour = torch.tensor(list(COLOURS.values())).repeat(n // 8 + 1, 1)[:n, :, None, None]
    return GROUND + cover[:, None] * (colour - GROUND)


STRANGE = {
    "uniform noise": (lambda: torch.rand(300, 3, 32, 32, generator=rng(0)), 0),
    "smooth noise": (lambda: blurred(torch.rand(300, 3, 32, 32, generator=rng(0)), 2), 0),
    "background": (lambda: GROUND.repeat(4, 1, 32, 32), 0),
    "black": (lambda: torch.zeros(4, 3, 32, 32), 0),
    "one colour": (lambda: torch.tensor(COLOURS["red"])[:, None, None].repeat(4, 1, 32, 32), 0),
    "two pictures blended": (lambda: (one_object() + one_object(seed=1).roll(1, 0)) / 2, 0.01),
    "half as strong": (lambda: (one_object() + GROUND) / 2, 0),
    "a colour halfway": (halfway, 0.05),
    "half an object": (lambda: cut(one_object()), 0.03),
    "three objects": (three, 0),
    "soft blobs": (blob, 0.1),
    "too small": (lambda: shrunk(one_object()), 0.02),
    "in grey": (lambda: one_object().mean(1, keepdim=True).expand(-1, 3, -1, -1), 0),
}  # fmt: skip


@pytest.mark.parametrize("name", STRANGE)
def test_what_is_no_scene_is_not_read(name):
    images, most = STRANGE[name]
    assert share_read(images().clamp(0, 1)) <= most


@pytest.mark.parametrize(
    "slope, says", [(0.5, "left of"), (0.85, None), (1.0, None), (2.0, "above")]
)
def test_a_relation_in_doubt_is_not_read(slope, says):
    circle = draw([Scene(RED)], rng(0)) - GROUND
    there = (circle.abs().amax(1) > 1e-3)[0]
    y, x = (int(there.any(d).int().argmax()) for d in (1, 0))
    right, down = (16, round(16 * slope)) if slope <= 1 else (round(16 / slope), 16)
    first = circle.roll((2 - y, 2 - x), (2, 3))
    image = GROUND + first + first.roll((down, right), (2, 3))
    assert oracle.scenes_in(image) == [says and Scene(RED, says, RED)]


def test_a_picture_with_numbers_that_are_none_is_not_read_and_spoils_no_other():
    drawn = some(n=3)
    images = draw(drawn, rng(0))
    images[1, 0, 5, 5] = float("nan")
    assert oracle.scenes_in(images) == [drawn[0], None, drawn[2]]


# by attribute


def attributes(seen: Scene, wanted: Scene):
    """What by_attribute says of a picture of one scene with the caption of another."""
    found = oracle.by_attribute(draw([seen], rng(1)), [caption(wanted)])
    return {name: bool(v[0]) for name, v in found.items() if len(v)}


@pytest.mark.parametrize(
    "attribute, value", [("size", "large"), ("colour", "pink"), ("shape", "ring")]
)
def test_one_wrong_attribute_is_named(attribute, value):
    wanted = Scene(RED, "above", BLUE)
    seen = Scene(replace(RED, **{attribute: value}), "above", BLUE)
    found = attributes(seen, wanted)
    assert found == {name: name != attribute for name in oracle.ATTRIBUTES}


def test_objects_are_matched_however_they_lie():
    wanted = Scene(RED, "left of", BLUE)
    for seen in (Scene(BLUE, "left of", RED), Scene(RED, "above", BLUE), Scene(BLUE, "above", RED)):
        found = attributes(seen, wanted)
        assert found == {name: name != "relation" for name in oracle.ATTRIBUTES}
    assert all(attributes(wanted, wanted).values())


def test_a_wrong_number_of_objects_and_an_unread_picture_have_nothing_right():
    assert not any(attributes(Scene(RED), Scene(RED, "left of", BLUE)).values())
    found = oracle.by_attribute(torch.rand(1, 3, 32, 32), [caption(Scene(RED, "above", BLUE))])
    assert not any(v.any() for v in found.values())


def test_the_relation_is_asked_of_captions_with_two_objects_alone():
    images, captions = captioned("seen", 60)
    found = oracle.by_attribute(images, captions)
    two = sum(" of " in text or "above" in text or "below" in text for text in captions)
    assert {name: len(v) for name, v in found.items()} == {
        **dict.fromkeys(oracle.ATTRIBUTES, 60),
        "relation": two,
    }
    assert all(v.dtype == torch.bool and v.all() for v in found.values()) and 0 < two < 60


# refuses


@pytest.mark.parametrize("shape", [(3, 32, 32), (2, 1, 32, 32), (2, 3, 28, 28)])
def test_images_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"the images have shape \[.*\]: give \[N, 3, 32, 32\]"):
        oracle.scenes_in(torch.zeros(shape))


def test_numbers_outside_0_and_1_are_refused():
    with pytest.raises(ValueError, match=r"run from -1.00 to 1.00: bring them to 0 to 1, by \(x"):
        oracle.scenes_in(torch.linspace(-1, 1, 3072).view(1, 3, 32, 32))


def test_captions_that_are_none_or_too_few_are_refused():
    images, captions = captioned("train", 3)
    with pytest.raises(ValueError, match="3 images and 2 captions: give one for each"):
        oracle.exact_match(images, captions[:2])
    with pytest.raises(ValueError, match="'a cat' is no caption"):
        oracle.by_attribute(images, ["a cat"] * 3)
