"""Tests of mini_models.recipes.judges: figures of models that are known to be right, or wrong."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from mini_models import zoo
from mini_models.clip import CLIP, CLIPConfig
from mini_models.data.emoji import emoji_split
from mini_models.data.shapes import HELD_OUT_PAIRS, captioned, draw, parse, scenes
from mini_models.dvae import DVAE, DVAEConfig
from mini_models.recipes.judges import (
    codebook_use,
    emoji_gallery,
    exact_by_split,
    image_nats,
    nearest_in_training,
    prompts,
    shapes_gallery,
    share_with_interval,
    through,
    told_apart,
)


@pytest.fixture(scope="module")
def artist():
    return zoo.load("dalle-emoji")[0]


class Copyist:
    """Draws every caption as it should be."""

    def __init__(self, wrong=()):
        self.wrong = wrong

    def draw(self, ids, generator):
        from mini_models.data.shapes.batches import english_tokenizer

        asked = [parse(english_tokenizer().decode(row)) for row in ids]
        return draw([scenes("train")[0] if i in self.wrong else s for i, s in enumerate(asked)],
                    generator)  # fmt: skip


class Knower:
    """Stands for a model that knows every scene: a vector with one 1 for what is shown or said."""

    def __init__(self, gallery, wrong=()):
        self.gallery, self.wrong = gallery, wrong

    def vectors(self, images=None, ids=None):
        n = len(self.gallery.texts["en"])
        if ids is None:
            return torch.eye(n)[self.gallery.shown]
        where = torch.arange(n)
        for i in self.wrong:
            where[i] = (i + 1) % n
        return torch.eye(n)[where]


TINY = DVAEConfig(codes=7, grid=2, image_size=8, channels=2, width=6, n_layers=1)


def tiny(seed=0, config=TINY) -> DVAE:
    torch.manual_seed(seed)
    return DVAE(config)


# agrees with an independent implementation


def test_the_loss_of_image_tokens_is_that_of_one_picture_at_a_time(artist, monkeypatch):
    few = emoji_split("drawings").only(range(3))
    monkeypatch.setattr("mini_models.recipes.judges.emoji_split", lambda split: few)
    tokenizer = zoo.load("dalle-emoji")[1]
    nats = []
    for image, one in zip(few.floats(), few.emoji):
        for name in (one.en.lower(), one.zh):
            ids = tokenizer.encode_batch([name], artist.config.text_length)
            words = artist.dvae.encode(image[None]).flatten(1)
            stream = artist.decoder.stream(ids, words)
            with torch.no_grad():
                odds = artist.decoder(stream[:, :-1]).log_softmax(dim=-1)[0]
            taken = odds.gather(1, stream[0, 1:, None])[artist.config.text_length :]
            nats.append(-float(taken.mean()))
    assert image_nats(artist, "drawings") == pytest.approx(sum(nats) / 6, abs=1e-4)


def test_the_nearest_picture_is_that_of_a_slow_search():
    known = emoji_split("train").floats()
    asked = emoji_split("concepts").floats()[:2]
    best = []
    for image in asked:
        tries = []
        for move in [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]:
            tries.append((known - image.roll(move, (1, 2))).square().sum(dim=(1, 2, 3)))
        best.append(int(torch.stack(tries).amin(dim=0).argmin()))
    assert torch.equal(nearest_in_training(asked)[0], known[best])


def test_one_who_draws_all_captions_right_makes_no_mistake():
    assert exact_by_split(Copyist()) == {
        "held_out": 0.0, "exact_train": 1.0, "exact_seen": 1.0, "exact_held_out": 1.0,
    }  # fmt: skip
    assert exact_by_split(Copyist(range(100)))["held_out"] == pytest.approx(0.1)


def test_one_who_knows_all_finds_all():
    for gallery in (shapes_gallery("seen", 30), emoji_gallery("concepts")):
        assert set(gallery.recalls(Knower(gallery)).values()) == {1.0}
    found = (gallery := shapes_gallery("seen", 30)).recalls(Knower(gallery, wrong=range(6)))
    assert found["en_r1"] == pytest.approx(0.8) and found["en_r5"] == pytest.approx(0.8)
    assert found["en_zh_r1"] == pytest.approx(28 / 30)  # two captions claim the seventh picture


def test_chance_is_one_among_all_but_for_things_drawn_twice():
    assert shapes_gallery("seen", 40).chance(1) == pytest.approx(1 / 40)
    drawings, concepts = emoji_gallery("drawings"), emoji_gallery("concepts")
    assert drawings.chance(5) == pytest.approx(5 / len(drawings.images))
    assert concepts.chance(1) == pytest.approx(1 / len(concepts.texts["en"]))


def test_the_interval_of_a_share_is_wilsons():
    for right, asked in ((7, 10), (0, 20), (500, 1000)):
        p, z = right / asked, 1.959964
        middle = (p + z * z / (2 * asked)) / (1 + z * z / asked)
        reach = z * (p * (1 - p) / asked + z * z / (4 * asked**2)) ** 0.5 / (1 + z * z / asked)
        found = share_with_interval(torch.arange(asked) < right)
        assert found == pytest.approx((p, middle - reach, middle + reach), abs=1e-5)


# properties


def test_a_moved_copy_of_a_training_picture_is_found():
    known = emoji_split("train")
    copies = torch.stack([known.floats()[700], known.floats()[40].roll(1, 1)])
    pictures, named = nearest_in_training(copies)
    assert torch.equal(pictures, known.floats()[[700, 40]])
    assert named == [known.emoji[700], known.emoji[40]]


def test_prompts_are_of_their_split_and_always_the_same():
    for split in ("train", "seen", "held_out"):
        said = prompts(split, 100)
        assert said == prompts(split, 100) and {parse(t) for t in said} <= set(scenes(split))
    pairs = [{(t.colour, t.shape) for t in parse(text).things} for text in prompts("held_out", 50)]
    assert all(p & set(HELD_OUT_PAIRS) for p in pairs)


def test_galleries_show_nothing_of_training():
    for split in ("seen", "held_out"):
        said = {parse(text) for text in shapes_gallery(split).texts["zh"]}
        assert said <= set(scenes(split)) and len(said) == 500
    train = {e.char for e in emoji_split("train").emoji}
    assert len(train & {e.char for e in emoji_split("concepts").emoji}) == 0


def test_reconstructions_and_words_are_those_of_encode_and_decode():
    model = tiny(config=DVAEConfig(codes=9, width=4, grid=4))
    images = captioned("train", 260)[0]  # more than one part
    painted, ids = through(model, images)
    assert_close(ids, model.encode(images))
    assert_close(painted, model.decode(ids))
    figures = codebook_use(model, images)
    assert figures["squared_error"] == pytest.approx(F.mse_loss(painted, images).item(), rel=1e-4)
    assert figures["words_used"] == len(set(ids.flatten().tolist()))


def test_one_who_knows_nothing_tells_scenes_apart_half_of_the_time():
    torch.manual_seed(0)
    blank = CLIP(CLIPConfig(51, 19, width=4, d_model=16, n_heads=2, n_layers=1, d_joint=8)).eval()
    assert abs(told_apart(blank, "held_out", 200) - 0.5) < 0.15
