"""Fidelity: how close a set of drawn images is to a set of real ones.

A classifier turns images into features; two sets are close if their features have nearly the same
mean and covariance. Ours knows Fashion-MNIST alone, so its distances can be compared with each
other, and not with the FIDs of papers, which are measured in the features of an Inception network.

Shapes   N, M images; C channels, S image side, F features; images [N, C, S, S], values in 0..1
Source   Heusel et al. 2017, arXiv:1706.08500, eq. 6 (the distance); Kynkäänniemi et al. 2019,
         arXiv:1904.06991, eq. 1 and 2 (precision and recall)
Derived  notebooks/14_gan.ipynb
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mini_models.machine import settings
from mini_models.machine.devices import device_of
from mini_models.machine.evaluating import evaluating

AT_ONCE = 500  # images that are looked at side by side


@dataclass(frozen=True)
class ClassifierConfig:
    """The sizes of one classifier; the defaults train in about a minute on two CPU cores."""

    classes: int = 10
    channels: int = 1  # C of the images
    image_size: int = 28  # S
    width: int = 32  # channels of the first layer
    features: int = 64  # F, the numbers that an image becomes before it is put into a class
    dropout: float = 0.3  # share of the features that are left out in training

    def __post_init__(self):
        settings.counts(self, "classes", "channels", "image_size", "width", "features")
        settings.share(self, "dropout")
        if self.image_size < 8:
            raise ValueError(
                f"image_size is {self.image_size}: give at least 8, for it is halved three times"
            )


class Classifier(nn.Module):
    """Images [N, C, S, S] to logits [N, classes], by way of `features` [N, F]."""

    def __init__(self, config: ClassifierConfig):
        super().__init__()
        self.config = config
        widths = [config.channels, config.width, 2 * config.width, 2 * config.width]
        layers = []
        for before, after in zip(widths, widths[1:]):
            layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after)]
            layers += [nn.ReLU(), nn.MaxPool2d(2)]
        side = config.image_size // 8
        layers += [nn.Flatten(), nn.Linear(widths[-1] * side**2, config.features), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.Dropout(config.dropout), nn.Linear(config.features, config.classes)
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(2 * images - 1))


def classifier_loss(model: nn.Module, batch) -> Tensor:
    """Cross-entropy in nats per image of a batch of images [N, C, S, S] and classes [N]."""
    images, labels = batch
    return F.cross_entropy(model(images).float(), labels)


@torch.no_grad()
def features(classifier: Classifier, images: Tensor) -> Tensor:
    """What the classifier sees in images [N, C, S, S]: features float32 [N, F], on the CPU."""
    device = device_of(classifier)
    with evaluating(classifier):
        seen = [classifier.features(2 * x.to(device) - 1).cpu() for x in images.split(AT_ONCE)]
    return torch.cat(seen)


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """The mean [F] and the covariance [F, F] of features [N, F], in float64.

    Raises: ValueError if there are fewer than two rows, or a number is not finite.
    """
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(
            f"the features have shape {list(features.shape)}: give [N, F] with N of 2 or more"
        )
    if not features.isfinite().all():
        raise ValueError("a feature is not finite: look at the images that it was made from")
    features = features.double()
    return features.mean(dim=0), features.T.cov().reshape(features.shape[1], -1)


def gaussian_distance(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> float:
    """|m_a - m_b|² + tr(C_a + C_b - 2 (C_a C_b)^½), Heusel et al. 2017, eq. 6.

    Args: two means [F] and two covariances [F, F], float64.
    """
    # the trace of (C_a C_b)^½ is the sum of the singular values of C_a^½ C_b^½
    overlap = torch.linalg.svdvals(_root(cov_a) @ _root(cov_b)).sum()
    apart = (mean_a - mean_b).square().sum()
    return max(float(apart + cov_a.trace() + cov_b.trace() - 2 * overlap), 0.0)


def _root(covariance: Tensor) -> Tensor:
    """The symmetric matrix [F, F] whose square is the covariance."""
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp(min=0).sqrt() @ vectors.T


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """How far features [N, F] and [M, F] lie apart, each taken for a Gaussian; 0 where equal.

    Fewer images make it larger, so only distances of as many images can be compared.
    """
    if a.shape[1:] != b.shape[1:]:
        raise ValueError(
            f"features of shapes {list(a.shape)} and {list(b.shape)} cannot be compared: "
            "take both from the same classifier"
        )
    return gaussian_distance(*moments(a), *moments(b))


def bootstrap(a: Tensor, b: Tensor, resamples: int = 200, seed: int = 0, share: float = 0.95):
    """The Fréchet distance of features [N, F] and [M, F], and how sure it is.

    Both sets are drawn anew from themselves, with repetition. A set that repeats itself lies
    farther from any other; that shift, the same in all resamples, is taken off.
    Returns: (value, low, high); the interval holds what other N and M images would give on
        average, in `share` of all cases.
    Raises: ValueError if the share is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise ValueError(f"share is {share}: give one between 0 and 1, such as 0.95")
    value = frechet_distance(a, b)
    draw = torch.Generator().manual_seed(seed)
    again = torch.tensor([
        frechet_distance(*(x[torch.randint(len(x), (len(x),), generator=draw)] for x in (a, b)))
        for _ in range(resamples)
    ])  # fmt: skip
    edges = torch.tensor([(1 - share) / 2, (1 + share) / 2])
    low, high = (again - again.mean() + value).quantile(edges).clamp(min=0).tolist()
    return value, low, high


def nearest(images: Tensor, among: Tensor) -> tuple[Tensor, Tensor]:
    """For each image [N, ...] the most similar one among [M, ...].

    Returns: indices int64 [N], and distances [N], the root of the summed squared differences.
    Raises: ValueError if they are not of one size.
    """
    if images.shape[1:] != among.shape[1:] or not len(among):
        raise ValueError(
            f"images of shape {list(images.shape)} cannot be looked for among {list(among.shape)}: "
            "give both the same size, and at least one to find"
        )
    places = among.flatten(1)
    close = [torch.cdist(x, places).argmin(dim=1) for x in images.flatten(1).split(AT_ONCE)]
    indices = torch.cat(close)
    return indices, (images - among[indices]).flatten(1).norm(dim=1)  # exact: 0 for a copy


def nearer_to_training(images: Tensor, train: Tensor, held_out: Tensor) -> float:
    """The share of images [N, ...] whose nearest training image is nearer than any held out.

    As many training images as there are held out take part, the first ones; so it is 1/2 for
    images that know nothing of either set, and 1 for copies of training images.
    """
    train = train[: len(held_out)]
    return float((nearest(images, train)[1] < nearest(images, held_out)[1]).float().mean())


def precision_recall(real: Tensor, drawn: Tensor, k: int = 3) -> tuple[float, float]:
    """How much of what is drawn looks real, and how much of what is real is drawn.

    Around each feature vector of a set lies a ball that reaches to its k-th neighbour. Precision
    is the share of `drawn` [M, F] within balls of `real` [N, F], recall the converse.
    Raises: ValueError if a set has no k-th neighbours.
    """
    if min(len(real), len(drawn)) <= k:
        raise ValueError(
            f"{len(real)} real and {len(drawn)} drawn images are too few for {k} neighbours each: "
            f"give at least {k + 1} of both"
        )

    def within(points, centres):
        radii = torch.cdist(centres, centres).kthvalue(k + 1).values  # the first is itself
        return float((torch.cdist(points, centres) <= radii).any(dim=1).float().mean())

    return within(drawn, real), within(real, drawn)
