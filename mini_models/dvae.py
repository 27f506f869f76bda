"""dVAE: a picture becomes a small grid of words, and a picture again.

The encoder gives each cell of a grid a distribution over the words of a codebook; the decoder
paints what a grid of words says. No gradient flows through the draw of a word. So in training the
draw is relaxed to a mixture of words, which is made sharper and sharper (Gumbel-softmax).

Shapes   B batch, C channels, S side of a picture, g side of the grid, V words in the codebook,
         W width; images [B, C, S, S] from 0 to 1, grids of words int64 [B, g, g]
Units    the loss is in nats for each of the C S² numbers of a picture
Source   Ramesh et al. 2021, arXiv:2102.12092, section 2.1 and appendix A; Kingma and Welling 2014,
         arXiv:1312.6114 (the bound); Jang et al. 2017, arXiv:1611.01144, and Maddison et al. 2017,
         arXiv:1611.00712 (the relaxation); Rybkin et al. 2021, arXiv:2006.13202 (the best σ)
Derived  notebooks/16_dvae.ipynb
"""

import math
from dataclasses import dataclass

import torch
from sklearn.cluster import MiniBatchKMeans
from torch import Tensor, nn

from mini_models.machine import settings

FIRST_SIGMA = 0.1  # how far from a word, in each number, a cell may lie in the beginning


@dataclass(frozen=True)
class DVAEConfig:
    """All sizes of one dVAE, and how its draws are relaxed."""

    codes: int = 1024  # V
    grid: int = 8  # g
    image_size: int = 32  # S, pixels
    channels: int = 3  # C
    width: int = 64  # W
    n_layers: int = 2  # residual blocks of the encoder, and as many of the decoder
    least_sigma: float = 0.01  # of the standard deviation of a pixel around what is painted
    kl_weight: float = 1.65  # β in the end; 6.6 for cells of 192 numbers, ours have 48
    kl_steps: int = 10  # steps in which β rises from 0; theirs 5,000
    temperature: float = 1 / 16  # τ in the end
    temperature_steps: int = 1000  # steps in which τ falls from 1; theirs 150,000

    @property
    def cell(self) -> int:
        """n, numbers in a cell of a picture."""
        return self.channels * (self.image_size // self.grid) ** 2

    def __post_init__(self):
        settings.counts(self, "codes", "grid", "image_size", "channels", "width")
        settings.counts(self, "n_layers", "kl_steps", "temperature_steps", least=0)
        settings.above_zero(self, "least_sigma", "temperature")
        settings.number(self, "kl_weight")
        if self.image_size % self.grid:
            raise ValueError(
                f"a side of {self.image_size} pixels cannot be cut into {self.grid} cells: "
                "make image_size a multiple of grid"
            )


def annealed(start: float, end: float, share: float) -> float:
    """From start to end along half a cosine, when a share of the way is done (at most 1)."""
    return end + (start - end) * (1 + math.cos(math.pi * min(share, 1))) / 2


class Residual(nn.Module):
    """x and what two convolutions add to it; [B, W, g, g] to the same."""

    def __init__(self, width: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReLU(), nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(), nn.Conv2d(width, width, 1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class Context(nn.Module):
    """Cells [B, n, g, g] and what those around them add to each, which is nothing at first."""

    def __init__(self, n: int, width: int, n_layers: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(n, width, 3, padding=1),
            *(Residual(width) for _ in range(n_layers)),
            nn.ReLU(), nn.Conv2d(width, n, 1),
        )  # fmt: skip
        nn.init.zeros_(self.layers[-1].weight)
        nn.init.zeros_(self.layers[-1].bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def make_encoder(config: DVAEConfig) -> nn.Sequential:
    """Images [B, C, S, S] to the pixels of each cell and what is around it, [B, n, g, g]."""
    cut = nn.PixelUnshuffle(config.image_size // config.grid)
    return nn.Sequential(cut, Context(config.cell, config.width, config.n_layers))


def make_decoder(config: DVAEConfig) -> nn.Sequential:
    """The word of each cell as pixels, [B, n, g, g], to images [B, C, S, S]."""
    join = nn.PixelShuffle(config.image_size // config.grid)
    return nn.Sequential(Context(config.cell, config.width, config.n_layers), join)


class DVAE(nn.Module):
    """Pictures to grids of words and back. A word is a small picture of one cell."""

    def __init__(self, config: DVAEConfig):
        super().__init__()
        self.config = config
        self.encoder = make_encoder(config)
        self.choose = nn.Conv2d(config.cell, config.codes, 1)  # logits of each word
        self.codebook = nn.Embedding(config.codes, config.cell)
        self.decoder = make_decoder(config)

    @torch.no_grad()
    def begin(self, images: Tensor, seed: int = 0) -> None:
        """Let the words be those of k-means on the cells of images [N, C, S, S].

        The encoder then begins as the exact posterior of words with normal noise of FIRST_SIGMA:
        logits -|cell - word|² / 2 σ², less what is the same for all words.
        """
        words = k_means(self.encoder(images), self.config.codes, seed)
        self.codebook.weight.copy_(words)
        self.choose.weight.copy_(words[:, :, None, None] / FIRST_SIGMA**2)
        self.choose.bias.copy_(-words.square().sum(dim=1) / (2 * FIRST_SIGMA**2))

    def logits(self, images: Tensor) -> Tensor:
        """log q(word | picture) but for a constant, [B, V, g, g]; raises as `check_images`."""
        check_images(images, self.config)
        return self.choose(self.encoder(images)).float()

    def paint(self, words: Tensor) -> Tensor:
        """Images of mixtures of words [B, V, g, g] whose shares sum to 1."""
        mixed = torch.einsum("bvhw,vd->bdhw", words, self.codebook.weight.to(words))
        return self.decoder(mixed).float()

    def relaxed(self, images: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        """Reconstructions through relaxed draws [B, C, S, S], and the logits [B, V, g, g]."""
        logits = self.logits(images)
        return self.paint(gumbel_softmax(logits, temperature)), logits

    def forward(self, images: Tensor, step: Tensor) -> Tensor:
        """Minus the relaxed lower bound of each picture, Ramesh et al. 2021, eq. 1: nats [B].

        Args: the images, and for each the number of the step, [B], on which β and τ depend.
        """
        c, step = self.config, float(step[0])
        temperature = annealed(1.0, c.temperature, step / max(c.temperature_steps, 1))
        weight = annealed(0.0, c.kl_weight, step / max(c.kl_steps, 1))
        painted, logits = self.relaxed(images, temperature)
        sigma = best_sigma(painted, images, c.least_sigma)
        return reconstruction_nats(painted, images, sigma) + weight * kl_to_uniform(logits)

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """The most probable word of each cell, int64 [B, g, g]."""
        with torch.autocast(images.device.type, enabled=False):  # rounding could change a word
            return self.logits(images).argmax(dim=1)

    @torch.no_grad()
    def decode(self, ids: Tensor) -> Tensor:
        """Images [B, C, S, S] from 0 to 1 of grids of words [B, g, g].

        Raises: ValueError for words that the codebook does not have, or another grid.
        """
        check_ids(ids, self.config)
        return self.decoder(self.codebook(ids).permute(0, 3, 1, 2)).float().clamp(0, 1)


def k_means(cells: Tensor, codes: int, seed: int = 0) -> Tensor:
    """Words [V, n] near which all the different ones of cells [N, n, g, g] lie."""
    cells = cells.permute(0, 2, 3, 1).flatten(0, 2)  # [N g², n]
    cells = cells.unique(dim=0)  # or plain ground, seen a thousand times, would fill the book
    means = MiniBatchKMeans(codes, batch_size=4096, n_init=1, max_iter=30, random_state=seed)
    return torch.from_numpy(means.fit(cells.cpu().numpy()).cluster_centers_)


def gumbel_softmax(logits: Tensor, temperature: float) -> Tensor:
    """softmax((logits + Gumbel noise) / τ) over dimension 1: nearly one-hot where τ is small.

    Its largest share is that of a word drawn from softmax(logits) (Jang et al. 2017, eq. 1 and 2).
    """
    noise = -(-torch.rand_like(logits).clamp_(min=1e-20).log_()).log_()  # if u is uniform
    return ((logits + noise) / temperature).softmax(dim=1)


def kl_to_uniform(logits: Tensor) -> Tensor:
    """KL(q || uniform) of each picture, summed over its cells: nats [B]; logits [B, V, g, g]."""
    log_q = logits.log_softmax(dim=1)
    return (log_q.exp() * (log_q + math.log(logits.shape[1]))).sum(dim=(1, 2, 3))


def best_sigma(painted: Tensor, images: Tensor, least: float) -> float:
    """The σ that makes images most probable: the root of their mean square error, or `least`.

    As paintings get better it shrinks, and what they say outweighs the KL term more and more."""
    return max(float((painted - images).detach().square().mean().sqrt()), least)


def reconstruction_nats(painted: Tensor, images: Tensor, sigma: float) -> Tensor:
    """-log p(picture | words) of each picture: every number is normal around what is painted.

    Args: both [B, C, S, S], and the standard deviation. Returns: nats [B], which can be negative.
    """
    squares = (painted - images).square().flatten(1).sum(dim=1)
    return squares / (2 * sigma**2) + images[0].numel() * math.log(sigma * math.sqrt(2 * math.pi))


def dvae_loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Minus the relaxed lower bound, in nats for each number of a picture (a scalar).

    Args: batch: images [B, C, S, S], and the number of the step for each, [B].
    """
    return model(*batch).mean() / batch[0][0].numel()


def perplexity(ids: Tensor, codes: int) -> float:
    """How many words, used equally often, would be as varied as these: exp of their entropy."""
    share = torch.bincount(ids.flatten(), minlength=codes).double() / ids.numel()
    return float(torch.special.entr(share).sum().exp())


def check_images(images: Tensor, config: DVAEConfig) -> None:
    """Raise ValueError unless the images are of the config's size."""
    wanted = [config.channels, config.image_size, config.image_size]
    if images.ndim != 4 or list(images.shape[1:]) != wanted:
        raise ValueError(
            f"the images have shape {list(images.shape)}: give [B, {', '.join(map(str, wanted))}]"
        )


def check_ids(ids: Tensor, config: DVAEConfig) -> None:
    """Raise ValueError unless these are grids of the codebook's words."""
    if ids.ndim != 3 or list(ids.shape[1:]) != [config.grid] * 2:
        raise ValueError(
            f"the words have shape {list(ids.shape)}: give [B, {config.grid}, {config.grid}]"
        )
    if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < config.codes:
        raise ValueError(
            f"words go from {int(ids.min())} to {int(ids.max())}: "
            f"this codebook has 0 to {config.codes - 1}"
        )
