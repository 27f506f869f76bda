"""Tests of mini_models.fidelity: distances between sets, how sure they are, and copies found."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from sklearn.neighbors import NearestNeighbors
from torch.testing import assert_close

from mini_models.data import RowBatches, fashion_mnist
from mini_models.fidelity import (
    Classifier,
    ClassifierConfig,
    bootstrap,
    classifier_loss,
    features,
    frechet_distance,
    gaussian_distance,
    moments,
    nearer_to_training,
    nearest,
    precision_recall,
)
from mini_models.train import TrainConfig, train


def cloud(n, mean, spread, seed=0):
    """n points in the plane, float32 [n, 2]."""
    draw = torch.Generator().manual_seed(seed)
    return torch.tensor(mean) + torch.randn(n, 2, generator=draw) @ torch.tensor(spread)


ROUND, LONG = [[1.0, 0.0], [0.0, 1.0]], [[2.0, 0.5], [0.0, 0.3]]
A, B = cloud(300, [0.0, 0.0], ROUND), cloud(200, [1.0, -1.0], LONG, seed=1)


def random_covariance(n, rank, seed):
    root = torch.randn(n, rank, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
    return root @ root.T


# agrees with an independent implementation


def test_the_distance_of_two_pairs_of_numbers_is_the_one_worked_out_by_hand():
    # means 1 and 3, variances 2 and 8: (3 - 1)² + (√8 - √2)² = 4 + 2
    a, b = torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [5.0]])
    assert_close(frechet_distance(a, b), 6.0)


def test_gaussians_along_the_same_axes_differ_by_their_standard_deviations():
    means = torch.tensor([[0.0, 1.0, 2.0], [3.0, 1.0, 0.0]], dtype=torch.double)
    deviations = torch.tensor([[1.0, 2.0, 0.0], [4.0, 2.0, 5.0]], dtype=torch.double)
    (m, n), (c, d) = means, [torch.diag(s**2) for s in deviations]
    expected = (means[0] - means[1]).square().sum() + (deviations[0] - deviations[1]).square().sum()
    assert_close(gaussian_distance(m, c, n, d), float(expected))


@pytest.mark.parametrize("rank", [6, 3])
def test_the_distance_is_the_formula_with_scipys_matrix_root(rank):
    c, d = random_covariance(6, 6, seed=0), random_covariance(6, rank, seed=1)
    m, n = torch.zeros(6, dtype=torch.double), torch.ones(6, dtype=torch.double)
    root = sqrtm((c + 1e-12 * torch.eye(6)).numpy() @ (d + 1e-12 * torch.eye(6)).numpy())
    expected = 6 + float(c.trace() + d.trace()) - 2 * np.trace(root).real
    assert_close(gaussian_distance(m, c, n, d), expected, rtol=1e-5, atol=1e-5)


def test_moments_are_those_of_numpy():
    mean, covariance = moments(B)
    assert_close(mean.numpy(), B.double().numpy().mean(axis=0))
    assert_close(covariance.numpy(), np.cov(B.double().numpy(), rowvar=False))


def test_the_nearest_image_is_the_one_that_a_search_through_all_finds():
    images, among = torch.rand(1100, 1, 6, 6), torch.rand(70, 1, 6, 6)  # more than one batch
    search = NearestNeighbors(n_neighbors=1).fit(among.flatten(1))
    distances, indices = search.kneighbors(images.flatten(1))
    found = nearest(images, among)
    assert found[0].tolist() == indices[:, 0].tolist()
    assert_close(found[1].double().numpy(), distances[:, 0], rtol=1e-5, atol=1e-5)


def test_precision_and_recall_are_those_counted_ball_by_ball():
    def counted(points, centres, k):
        reach = NearestNeighbors(n_neighbors=k + 1).fit(centres).kneighbors(centres)[0][:, -1]
        return np.mean([any(np.linalg.norm(p - centres, axis=1) <= reach) for p in points])

    real, drawn = A.double(), B.double()
    expected = (counted(drawn.numpy(), real.numpy(), 3), counted(real.numpy(), drawn.numpy(), 3))
    assert_close(precision_recall(real, drawn), expected)
    assert 0.05 < expected[0] < 0.95 and 0.05 < expected[1] < 0.95


def test_the_interval_holds_the_distance_that_other_samples_give_about_as_often_as_it_says():
    def two(seed):
        return cloud(100, [0.0, 0.0], ROUND, 2 * seed), cloud(100, [1.0, -1.0], LONG, 2 * seed + 1)

    expected = np.mean([frechet_distance(*two(seed)) for seed in range(1000, 1400)])
    found = [bootstrap(*two(seed), resamples=60, share=0.8) for seed in range(60)]
    assert 0.65 <= np.mean([low <= expected <= high for _, low, high in found]) <= 0.95


# property


def test_a_set_is_at_distance_0_from_itself_and_as_far_from_another_as_that_from_it():
    assert frechet_distance(A, A) < 1e-9
    assert frechet_distance(A, A.flip(0)) < 1e-9  # in whatever order
    assert_close(frechet_distance(A, B), frechet_distance(B, A))


def test_a_shift_counts_its_square_and_a_turn_of_both_sets_nothing():
    shift = torch.tensor([3.0, 4.0])
    assert_close(frechet_distance(A, A + shift), 25.0, rtol=1e-5, atol=0)
    turn = torch.tensor([[0.6, 0.8], [-0.8, 0.6]])
    assert_close(frechet_distance(A @ turn, B @ turn), frechet_distance(A, B), rtol=1e-5, atol=0)
    assert_close(frechet_distance(3 * A, 3 * B), 9 * frechet_distance(A, B), rtol=1e-5, atol=0)


def test_fewer_images_of_the_same_kind_lie_farther_apart():
    def apart(n):
        pairs = [(cloud(n, [0.0, 0.0], LONG, 2 * s), cloud(n, [0.0, 0.0], LONG, 2 * s + 1))
                 for s in range(30)]  # fmt: skip
        return np.mean([frechet_distance(*pair) for pair in pairs])

    assert apart(25) > 2 * apart(100) > 4 * apart(400)


def test_an_interval_holds_its_value_repeats_itself_and_is_narrower_for_more_images():
    value, low, high = bootstrap(A, B, resamples=50)
    assert low < value == frechet_distance(A, B) < high
    assert bootstrap(A, B, resamples=50) == (value, low, high)
    assert bootstrap(A, B, resamples=50, seed=1) != (value, low, high)
    few = bootstrap(A[:40], B[:40], resamples=50)
    assert few[2] - few[1] > 1.5 * (high - low)


def test_the_interval_lies_around_its_value_also_where_repetition_alone_would_double_it():
    draw = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 50, 20, generator=draw)  # hardly more points than directions
    again = a[torch.randint(50, (50,), generator=draw)]
    assert frechet_distance(again, b) > 1.2 * frechet_distance(a, b)
    value, low, high = bootstrap(a, b, resamples=50)
    assert low < value < high


def test_copies_of_training_images_are_nearer_to_them_and_other_images_are_not():
    train, held_out, new = torch.rand(3, 200, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    copies = (train + 0.01).clamp(max=1)
    assert nearer_to_training(copies, train, held_out) == 1.0
    assert abs(nearer_to_training(new, train, held_out) - 0.5) < 0.12
    half = torch.cat([copies[:100], new[:100]])
    assert abs(nearer_to_training(half, train, held_out) - 0.75) < 0.12
    assert nearer_to_training(held_out, train, held_out) == 0.0


def test_more_training_images_than_held_out_ones_are_no_advantage():
    draw = torch.Generator().manual_seed(0)
    train, held_out, new = torch.rand(1500, 200, generator=draw).split([1200, 100, 200])
    assert abs(nearer_to_training(new, train, held_out) - 0.5) < 0.12


def test_a_copy_is_at_distance_0():
    images = torch.rand(200, 1, 28, 28)
    indices, distances = nearest(images[3:63], images)
    assert indices.tolist() == list(range(3, 63)) and distances.tolist() == [0.0] * 60


def test_a_set_of_one_kind_is_precise_but_recalls_little_and_a_wide_one_the_converse():
    one, all_ = cloud(300, [0.0, 0.0], [[0.1, 0.0], [0.0, 0.1]], seed=2), A
    precision, recall = precision_recall(all_, one)
    assert precision > 0.95 and recall < 0.2
    assert precision_recall(one, all_) == (recall, precision)


def test_features_do_not_depend_on_the_batch_nor_on_dropout_and_leave_the_mode_as_it_was():
    torch.manual_seed(0)
    classifier, images = Classifier(ClassifierConfig(width=8)).train(), torch.rand(1100, 1, 28, 28)
    seen = features(classifier, images)  # in more than one batch
    assert seen.shape == (1100, 64) and classifier.training
    assert_close(seen[:7], features(classifier, images[:7]))
    classifier.eval()
    assert_close(seen, classifier.features(2 * images - 1))
    assert_close(classifier(images), classifier.head(seen))


def test_noise_takes_images_away_from_what_they_were_step_by_step():
    torch.manual_seed(0)
    classifier = Classifier(ClassifierConfig())
    images = fashion_mnist("held_out")[0][:500]
    noise = torch.randn(images.shape)
    seen = [features(classifier, (images + s * noise).clamp(0, 1)) for s in (0, 0.1, 0.3, 0.6)]
    apart = [frechet_distance(seen[0], other) for other in seen]
    assert apart[0] < 1e-9 and apart == sorted(apart) and apart[1] > 1e-4


# refuses


def test_features_of_different_width_are_refused():
    with pytest.raises(ValueError, match=r"shapes \[300, 2\] and \[200, 1\].*same classifier"):
        frechet_distance(A, B[:, :1])


def test_a_single_image_and_images_instead_of_features_are_refused():
    with pytest.raises(ValueError, match=r"shape \[1, 2\]: give \[N, F\] with N of 2 or more"):
        frechet_distance(A, B[:1])
    with pytest.raises(ValueError, match=r"shape \[4, 1, 28, 28\]: give \[N, F\]"):
        moments(torch.rand(4, 1, 28, 28))


def test_a_feature_that_is_not_a_number_is_refused():
    with pytest.raises(ValueError, match="a feature is not finite"):
        moments(torch.tensor([[1.0], [float("nan")]]))


def test_images_of_another_size_are_not_looked_for():
    with pytest.raises(
        ValueError, match=r"\[3, 1, 4, 4\] cannot be looked for among \[9, 1, 5, 5\]"
    ):
        nearest(torch.rand(3, 1, 4, 4), torch.rand(9, 1, 5, 5))
    with pytest.raises(ValueError, match="at least one to find"):
        nearest(torch.rand(3, 4), torch.rand(0, 4))


def test_too_few_images_for_their_neighbours_are_refused():
    with pytest.raises(ValueError, match="300 real and 3 drawn images.*give at least 4 of both"):
        precision_recall(A, B[:3])


def test_a_share_that_is_none_and_an_image_too_small_to_halve_are_refused():
    with pytest.raises(ValueError, match="share is 95: give one between 0 and 1"):
        bootstrap(A, B, share=95)
    with pytest.raises(ValueError, match="image_size is 7: give at least 8"):
        ClassifierConfig(image_size=7)


# learns


def test_a_small_classifier_learns_to_tell_clothes_apart_in_seconds():
    torch.manual_seed(0)
    classifier = Classifier(ClassifierConfig(width=8))
    batches = RowBatches([part[:2000] for part in fashion_mnist("train")], 64)
    train(classifier, batches, classifier_loss, TrainConfig(steps=60, lr=5e-3, warmup=10))
    images, labels = fashion_mnist("held_out")
    assert (classifier.eval()(images[:500]).argmax(dim=1) == labels[:500]).float().mean() > 0.65
