"""Tests of mini_models.clip: the loss by hand and by others, whose vectors, ranks, refusals."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from mini_models.clip import (
    CLIP,
    CLIPConfig,
    best_of,
    by_way_of,
    chance_at,
    clip_loss,
    contrastive_loss,
    ranks,
    recall_at,
    rerank,
)
from mini_models.data.shapes.batches import ShapesBatches, caption_tokenizer
from mini_models.text_to_image_gan import contrast
from mini_models.train import TrainConfig, train

SMALL = CLIPConfig(width=4, d_model=16, n_heads=2, n_layers=1, d_joint=8)


def reader(seed=0, config=SMALL) -> CLIP:
    torch.manual_seed(seed)
    return CLIP(config)


def a_batch(n=6, step=0):
    return ShapesBatches(n, language="both")[step]


# agrees with an independent implementation


def test_the_loss_of_two_pairs_is_what_a_pencil_gives():
    scores = torch.tensor([[2.0, 0.0], [1.0, 3.0]])
    rows = math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-2))  # 2 - 0 and 3 - 1
    columns = math.log(1 + math.exp(-1)) + math.log(1 + math.exp(-3))  # 2 - 1 and 3 - 0
    assert float(contrastive_loss(scores)) == pytest.approx((rows + columns) / 4, abs=1e-6)


def test_the_loss_is_that_of_a_plain_loop():
    scores = np.random.default_rng(0).normal(size=(7, 7)) * 3
    total = 0.0
    for i in range(7):
        for others in (scores[i], scores[:, i]):
            total -= math.log(math.exp(scores[i, i]) / sum(math.exp(s) for s in others))
    assert float(contrastive_loss(torch.tensor(scores))) == pytest.approx(total / 14, abs=1e-6)


def test_the_loss_is_that_of_transformers():
    modeling = pytest.importorskip("transformers.models.clip.modeling_clip")
    torch.manual_seed(0)
    scores = torch.randn(9, 9) * 5
    theirs = (
        modeling.clip_loss
        if hasattr(modeling, "clip_loss")
        else modeling.image_text_contrastive_loss
    )
    assert_close(contrastive_loss(scores), theirs(scores.T))


def test_the_loss_is_the_one_of_chapter_13_in_both_directions():
    torch.manual_seed(0)
    scores = torch.randn(5, 5)
    assert_close(contrastive_loss(scores), (contrast(scores) + contrast(scores.T)) / 2)


def test_scores_are_cosines_times_the_scale():
    model, (images, ids) = reader().eval(), a_batch()
    scores = model(images, ids)
    seen, said = model.eye(images), model.reader(ids)
    for i in range(6):
        cosines = F.cosine_similarity(seen[i][None], said)
        assert_close(scores[i], cosines / SMALL.temperature, atol=1e-5, rtol=1e-5)


def test_half_precision_loses_little_at_the_largest_scale():
    torch.manual_seed(0)
    seen, said = (F.normalize(torch.randn(64, 32, dtype=torch.float64), dim=1) for _ in range(2))
    exact = (100 * seen @ said.T).requires_grad_()
    half = exact.detach().half().requires_grad_()
    for scores in (exact, half):
        loss = contrastive_loss(scores)
        assert loss.dtype == torch.float32 and loss.isfinite()
        loss.backward()
    assert half.grad.isfinite().all()
    assert_close(contrastive_loss(half), contrastive_loss(exact), atol=0.02, rtol=0)
    assert_close(half.grad.double(), exact.grad, atol=1e-3, rtol=0)


def test_the_largest_scores_of_half_precision_give_a_finite_loss():
    scores = torch.full((4, 4), -100.0, dtype=torch.float16)
    scores.fill_diagonal_(100)
    for worst in (scores, -scores):
        asked = worst.clone().requires_grad_()
        loss = contrastive_loss(asked)
        loss.backward()
        assert loss.isfinite() and asked.grad.isfinite().all()
    assert float(contrastive_loss(-scores)) == pytest.approx(200 + math.log(3), abs=1e-3)


def test_ranks_are_what_sorting_gives():
    torch.manual_seed(0)
    scores = torch.rand(30, 40)
    rows, columns = torch.arange(30), torch.arange(40) % 30
    for i, rank in enumerate(ranks(scores, rows, columns).tolist()):
        order = scores[i].argsort(descending=True)
        assert rank == 1 + next(p for p, j in enumerate(order) if columns[j] == i)


def test_chance_is_what_random_scores_come_to():
    torch.manual_seed(0)
    rows, columns = torch.arange(20), torch.arange(30) % 20
    for k in (1, 5):
        found = [recall_at(torch.rand(20, 30), k, rows, columns) for _ in range(2000)]
        assert sum(found) / 2000 == pytest.approx(chance_at(k, rows, columns), abs=0.005)
    assert chance_at(1, rows, rows) == pytest.approx(1 / 20)


def test_scores_that_are_no_numbers_or_all_alike_earn_nothing():
    for scores in (torch.full((5, 5), math.nan), torch.zeros(5, 5), torch.full((5, 5), -math.inf)):
        assert ranks(scores).tolist() == [5] * 5 and recall_at(scores, 1) == 0
    scores = torch.eye(4)
    scores[0, 1], scores[1, 1] = math.nan, math.nan  # a wrong answer to 0, the right one to 1
    assert ranks(scores).tolist() == [2, 4, 1, 1]


def test_of_fewer_answers_than_k_chance_finds_every_one():
    rows = torch.arange(3)
    assert chance_at(5, rows, rows) == 1 and chance_at(3, rows, rows) == 1


# properties


def test_the_two_directions_count_alike_and_the_order_of_pairs_does_not_matter():
    torch.manual_seed(0)
    scores, order = torch.randn(8, 8), torch.randperm(8)
    assert_close(contrastive_loss(scores), contrastive_loss(scores.T))
    assert_close(contrastive_loss(scores), contrastive_loss(scores[order][:, order]))


def test_one_who_says_nothing_loses_the_logarithm_of_the_batch():
    for n in (2, 7, 64):
        assert float(contrastive_loss(torch.ones(n, n))) == pytest.approx(math.log(n), abs=1e-5)


def test_pairs_that_say_the_same_are_no_wrong_answers_to_each_other():
    torch.manual_seed(0)
    scores, labels = torch.randn(4, 4, requires_grad=True), torch.tensor([5, 2, 5, 7])
    loss = contrastive_loss(scores, labels)
    loss.backward()
    assert scores.grad[0, 2] == scores.grad[2, 0] == 0 and (scores.grad[0, 1:2] != 0).all()
    without = scores.detach()[[0, 1, 3]][:, [0, 1, 3]].exp()  # what the first pair is told from
    by_hand = (
        -(without[0, 0] / without[0].sum()).log() - (without[0, 0] / without[:, 0].sum()).log()
    )
    rest = [-(scores[i] - m).softmax(0)[i].log() - (scores[:, i] - m).softmax(0)[i].log()
            for i, m in ((1, 0), (3, 0))]  # fmt: skip
    third = scores.detach()[[1, 2, 3]][:, [1, 2, 3]]
    rest.append(-third.softmax(1)[1, 1].log() - third.softmax(0)[1, 1].log())
    assert_close(loss, (by_hand + sum(rest)) / 8)
    assert_close(contrastive_loss(scores, torch.arange(4)), contrastive_loss(scores))


def test_vectors_have_length_one_and_padding_says_nothing():
    model, (images, ids) = reader().eval(), a_batch()
    for vectors in (model.embed_images(images), model.embed_texts(ids)):
        assert vectors.shape == (6, 8)
        assert_close(vectors.norm(dim=1), torch.ones(6))
    for row, vector in zip(ids, model.embed_texts(ids)):
        assert_close(model.embed_texts(row[row > 0][None])[0], vector)
    assert_close(model.vectors(ids=ids), model.embed_texts(ids).detach())
    assert_close(model.vectors(images), model.embed_images(images).detach())


def test_the_order_of_words_counts():
    said = [
        "a small red ring above a large blue heart",
        "a large blue heart above a small red ring",
    ]
    one, two = reader().embed_texts(caption_tokenizer().encode_batch(said, 19))
    assert (one @ two).item() < 0.999


def test_the_scale_is_cut_off_at_its_largest_and_may_come_back():
    model, batch = reader(), a_batch()
    assert model.scale.item() == pytest.approx(1 / 0.07)
    with torch.no_grad():
        model.log_scale.fill_(9.0)
    assert model.scale.item() == pytest.approx(100)
    clip_loss(model, batch).backward()
    assert model.log_scale.item() == pytest.approx(math.log(100))
    assert model.log_scale.grad.abs() > 0  # a hard limit would have no slope
    assert model(*batch).abs().max().item() <= 100.001


def test_scores_are_exact_where_training_rounds():
    model, (images, ids) = reader(), a_batch()
    with torch.no_grad():
        model.log_scale.fill_(math.log(100))
    with torch.autocast("cpu", torch.bfloat16):
        seen, said = model.embed_images(images), model.embed_texts(ids)
        scores = model(images, ids)
        rounded = 100 * (seen @ said.T).float()
    assert scores.dtype == torch.float32
    assert_close(scores, 100 * seen @ said.T, atol=1e-4, rtol=1e-4)
    assert (rounded - scores).abs().max() > 0.03  # what autocast would have done


def test_a_go_between_that_is_right_leads_to_the_right_answer():
    first = torch.tensor([[0.1, 0.9], [0.8, 0.2]])  # the second picture, the first
    second = torch.tensor([[0.0, 1.0, 0.5], [1.0, 0.0, 0.5]])
    assert_close(by_way_of(first, second), second[[1, 0]])


def test_scores_all_alike_earn_nothing():
    assert ranks(torch.zeros(4, 4)).tolist() == [4] * 4
    assert recall_at(torch.eye(4), 1) == 1 and recall_at(-torch.eye(4), 3) == 0


def test_the_best_of_more_is_never_a_lower_score():
    torch.manual_seed(0)
    scores, before = torch.randn(5, 16), torch.full((5,), -torch.inf)
    for n in (1, 2, 4, 8, 16):
        chosen = best_of(scores, n)
        assert (chosen < n).all()
        now = scores.gather(1, chosen[:, None])[:, 0]
        assert (now >= before).all()
        before = now
    assert best_of(scores, 1).tolist() == [0] * 5


def test_reranking_compares_each_text_with_its_own_pictures():
    model = reader().eval()
    images, ids = a_batch(6)
    cosines = rerank(model, images.unflatten(0, (2, 3)), ids[:2])
    assert cosines.shape == (2, 3)
    assert_close(cosines[1, 2] * model.scale[0], model(images, ids)[5, 1].detach())


def test_several_channels_and_sides_may_be_read():
    model = reader(config=replace(SMALL, channels=1, image_size=16))
    assert model.embed_images(torch.rand(3, 1, 16, 16)).shape == (3, 8)


# refuses


def test_a_batch_of_one_is_refused():
    with pytest.raises(ValueError, match="a batch of 1 pair has nothing to tell it from"):
        contrastive_loss(torch.ones(1, 1))
    with pytest.raises(ValueError, match="give at least 2"):
        clip_loss(reader(), a_batch(1))


def test_scores_that_are_no_square_are_refused():
    for shape in ((3, 4), (4,)):
        with pytest.raises(ValueError, match=r"the scores have shape \[.*4\]: give one of each"):
            contrastive_loss(torch.zeros(shape))


def test_texts_too_long_or_empty_are_refused():
    model = reader()
    with pytest.raises(ValueError, match="the texts have 20 tokens, more than 19: shorten"):
        model.embed_texts(torch.ones(2, 20, dtype=torch.long))
    with pytest.raises(ValueError, match="one of 2 texts is empty: say what to look for"):
        model.embed_texts(torch.tensor([[1, 0], [0, 0]]))


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="a width of 30 cannot be shared by 4 heads"):
        CLIPConfig(d_model=30)
    with pytest.raises(ValueError, match="a side of 28 pixels cannot be halved three times"):
        CLIPConfig(image_size=28)
    with pytest.raises(ValueError, match="a temperature of 0.001 is a scale of more than 100"):
        CLIPConfig(temperature=0.001)


def test_questions_without_an_answer_and_the_best_of_none_are_refused():
    with pytest.raises(ValueError, match="1 of 2 questions have no right answer"):
        ranks(torch.zeros(2, 2), torch.tensor([0, 9]), torch.tensor([0, 1]))
    for n in (0, 4):
        with pytest.raises(ValueError, match=f"the best of {n} was asked for: choose from 1 to 3"):
            best_of(torch.zeros(2, 3), n)


# learns


def test_a_small_one_learns_to_find_colours_in_seconds():
    torch.manual_seed(0)
    config = replace(SMALL, width=8, d_model=32, d_joint=32)
    model, batches = CLIP(config), ShapesBatches(32, language="both")
    images, ids = ShapesBatches(100, seed=9, language="both", split="seen")[0]
    train(model, batches, clip_loss, TrainConfig(steps=80, lr=5e-3, warmup=10, precision="fp32"))
    model.eval()
    scores = model.vectors(ids=ids) @ model.vectors(images).T
    assert recall_at(scores, 10) > 0.5  # by chance: 0.1
