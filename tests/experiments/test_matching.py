"""Tests of mini_models.experiments.matching: its question is fair, and its games are stored."""

from dataclasses import replace

import pytest
import torch

from mini_models import experiments
from mini_models.data.shapes import COLOURS, draw, parse, scenes
from mini_models.experiments import matching
from mini_models.experiments.matching import (
    GAMES,
    captions,
    hue_is_right,
    play_with_captions,
    shares_right,
)
from mini_models.recipes.judges import prompts

RNG = torch.Generator()


# agrees with an independent implementation


def test_real_pictures_have_the_hue_of_their_caption_and_of_no_other():
    asked = captions(200)
    images = draw([parse(t) for t in asked], RNG.manual_seed(0))
    assert hue_is_right(images, asked).all()
    others = asked[1:] + asked[:1]
    same = torch.tensor([parse(a).first.colour == parse(b).first.colour
                         for a, b in zip(asked, others)])  # fmt: skip
    assert (hue_is_right(images, others) == same).all()


# properties


def test_a_guess_is_right_in_one_of_eight():
    asked = captions(2000)
    ground = draw([parse(asked[0])], RNG.manual_seed(0))[0, :, :1, :1]
    noise = torch.randn(2000, 3, 1, 1, generator=RNG.manual_seed(1)) * 0.01
    right = hue_is_right((ground + noise).expand(-1, 3, 32, 32), asked)
    assert right.float().mean() == pytest.approx(1 / len(COLOURS), abs=0.06)


def test_captions_are_of_one_object_of_training_and_always_the_same():
    assert captions(50) == captions(50)
    assert {parse(t) for t in captions()} <= {s for s in scenes("train") if s.second is None}


def test_the_stored_games_are_those_of_the_module():
    found = experiments.results("matching")
    assert found["steps"] == matching.HOW.steps and found["captions"] == len(captions())
    assert list(found["games"]) == list(GAMES)
    assert all(len(games) == matching.SEEDS for games in found["games"].values())


def test_wrong_captions_are_what_makes_it_read():
    games = experiments.results("matching")["games"]
    hues = {name: [g["hue"] for g in played] for name, played in games.items()}
    assert max(hues["real and drawn"]) < min(hues["wrong captions and contrast"])


# learns


def test_a_game_is_judged_and_repeats_itself(monkeypatch):
    monkeypatch.setattr(matching, "HOW", replace(matching.HOW, steps=3, precision="fp32"))
    one, told = play_with_captions(seed=1)
    again, _ = play_with_captions(seed=1)
    assert len(told) == 3 and all(0 <= share <= 1 for share in told)
    assert shares_right(one, captions(50)) == shares_right(again, captions(50))
    assert set(shares_right(one, prompts("train", 20))) >= {"hue", "exact", "relation"}
