"""VQ: the nearest of a codebook's vectors, instead of a draw.

The other way to words: the encoder points at a place, and the nearest vector of the codebook is
taken. No gradient flows through that choice either, so the decoder's gradient is handed to the
encoder as if nothing had been rounded (straight-through). Each vector of the codebook moves to the
mean of the places that chose it.

Shapes   B batch, W numbers in a cell, g side of the grid, V words in the codebook, n = B g² places
Source   van den Oord et al. 2017, arXiv:1711.00937, eq. 1 to 3 and appendix A.1 (moving averages);
         Bengio et al. 2013, arXiv:1308.3432 (straight-through)
Derived  notebooks/16_dvae.ipynb
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mini_models import dvae

COMMITMENT = 0.25  # weight of what keeps the encoder near the codebook; their β
KEPT = 0.99  # share of the moving averages kept at each step; their γ


class Codebook(nn.Module):
    """V vectors, each a moving average of the places that chose it."""

    def __init__(self, codes: int, width: int):
        super().__init__()
        vectors = torch.randn(codes, width)
        self.register_buffer("vectors", vectors)  # moved by averages, not by a gradient
        self.register_buffer("counts", torch.ones(codes))  # N of eq. 6
        self.register_buffer("sums", vectors.clone())  # m of eq. 7

    def nearest(self, places: Tensor) -> Tensor:
        """Of places [n, W] the number of the nearest vector, int64 [n]."""
        return torch.cdist(places.float(), self.vectors).argmin(dim=1)

    @torch.no_grad()
    def follow(self, places: Tensor, ids: Tensor) -> None:
        """Move each vector towards the mean of the places [n, W] that chose it, ids [n]."""
        places = places.float()
        sums = torch.zeros_like(self.sums).index_add_(0, ids, places)  # a product could be in bf16
        counts = torch.bincount(ids, minlength=len(self.counts)).to(places)
        self.counts.lerp_(counts, 1 - KEPT)
        self.sums.lerp_(sums, 1 - KEPT)
        self.vectors.copy_(self.sums / self.counts.clamp(min=1e-3)[:, None])


class VQVAE(nn.Module):
    """The networks of a `dvae.DVAE` around a codebook of nearest vectors."""

    def __init__(self, config: dvae.DVAEConfig):
        super().__init__()
        self.config = config
        self.encoder = dvae.make_encoder(config)
        self.codebook = Codebook(config.codes, config.cell)
        self.decoder = dvae.make_decoder(config)

    @torch.no_grad()
    def begin(self, images: Tensor, seed: int = 0) -> None:
        """Let the vectors be those of k-means, as `DVAE.begin` does."""
        self.codebook.vectors.copy_(dvae.k_means(self.encoder(images), self.config.codes, seed))
        self.codebook.sums.copy_(self.codebook.vectors)

    def places(self, images: Tensor) -> Tensor:
        """Where the encoder points for each cell, [B, W, g, g]."""
        dvae.check_images(images, self.config)
        return self.encoder(images).float()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """-log p(picture | words), nats [B], and how far places are from their vectors, squared."""
        places = self.places(images)
        flat = places.permute(0, 2, 3, 1).flatten(0, 2)  # [n, W]
        ids = self.codebook.nearest(flat)
        if self.training:
            self.codebook.follow(flat, ids)
        vectors = self.codebook.vectors[ids].view(-1, *places.shape[2:], places.shape[1])
        vectors = vectors.permute(0, 3, 1, 2)  # [B, W, g, g]
        painted = self.decoder(straight_through(places, vectors)).float()
        sigma = dvae.best_sigma(painted, images, self.config.least_sigma)
        nats = dvae.reconstruction_nats(painted, images, sigma)
        return nats, F.mse_loss(places, vectors)

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """The nearest word of each cell, int64 [B, g, g]."""
        places = self.places(images).permute(0, 2, 3, 1)
        return self.codebook.nearest(places.flatten(0, 2)).view(places.shape[:3])

    @torch.no_grad()
    def decode(self, ids: Tensor) -> Tensor:
        """Images [B, C, S, S] of grids of words [B, g, g]; raises as `DVAE.decode`."""
        dvae.check_ids(ids, self.config)
        return self.decoder(self.codebook.vectors[ids].permute(0, 3, 1, 2)).float().clamp(0, 1)


def straight_through(soft: Tensor, hard: Tensor) -> Tensor:
    """`hard` forward; backward, the gradient goes to `soft` unchanged."""
    return soft + (hard - soft).detach()


def vq_loss(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    """Nats for each number of a picture, and the encoder's commitment to its words; a scalar.

    Args: batch: images [B, C, S, S] first; what follows is not used.
    """
    nats, distance = model(batch[0])
    return nats.mean() / batch[0][0].numel() + COMMITMENT * distance
