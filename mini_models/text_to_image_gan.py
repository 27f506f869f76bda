"""Text to image as a game: one network draws what a caption says, the other looks and reads.

The discriminator is matching-aware. Beside drawn pictures it is shown real ones with the caption of
another, and must tell both from a real picture with its own. It must also find each picture's
caption among those of the whole batch, and the generator must draw so that it can.

Shapes   B batch, T words of a caption, D model width, Z latent width, F features of a picture;
         images [B, 3, 32, 32] with values in 0..1
Source   Reed et al. 2016, arXiv:1605.05396, section 4.2 (matching-aware, algorithm 1); Zhang et al.
         2021, arXiv:2101.04702, section 4 (contrast); Miyato and Koyama 2018, arXiv:1802.05637
         (products); Mescheder et al. 2018, arXiv:1801.04406, eq. 9 (R1); Sønderby et al. 2017,
         arXiv:1610.04490 (noise)
Derived  notebooks/15_text_to_image_gan.ipynb
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mini_models.gan import GANConfig, Generator, averaged, frozen, gradient_norms
from mini_models.machine import settings
from mini_models.machine.devices import device_of
from mini_models.machine.evaluating import evaluating
from mini_models.transformer import Transformer, init_weights

SHARP = 8.0  # what the cosine of a picture and a caption is multiplied by


@dataclass(frozen=True)
class TextToImageConfig:
    """All sizes of the two networks, and the rules of their game."""

    vocab_size: int = 23  # V, words and the padding
    text_length: int = 10  # T
    latent: int = 32  # Z
    d_model: int = 64  # D
    n_heads: int = 4  # H
    n_layers: int = 1  # blocks that read a caption
    width: int = 32  # channels of the generator's last layer but one; see `gan.GANConfig`
    eye: int = 32  # channels of the discriminator's first layer
    features: int = 256  # F
    wrong: float = 0.5  # ω, share of wrong captions in what the discriminator should deny
    contrast: float = 1.0  # weight of finding the caption among others
    r1: float = 1.0  # γ, see `gan.r1_penalty`
    noise: float = 0.1  # standard deviation of what is added to all that the discriminator sees
    average: float = 0.998  # share of the generator's average kept at each step; 0: no average

    def __post_init__(self):
        sizes = ("vocab_size", "text_length", "latent", "d_model", "n_heads", "n_layers")
        settings.counts(self, *sizes, "width", "eye", "features")
        settings.share(self, "wrong", "average")
        settings.number(self, "contrast", "r1", "noise")
        settings.heads(self)


class TextEncoder(nn.Module):
    """Captions [B, T] to a vector each [B, D]: the mean of its words, once they know each other.

    Args:
        config: has vocab_size, text_length, n_layers, d_model and n_heads.
        spread: standard deviation of the first vectors of words and places; None leaves it, and
            all other first weights, to whoever makes the encoder.
    """

    def __init__(self, config, spread: float | None = 0.5):
        super().__init__()
        self.words = nn.Embedding(config.vocab_size, config.d_model)
        self.order = nn.Embedding(config.text_length, config.d_model)
        self.transformer = Transformer(config.n_layers, config.d_model, config.n_heads)
        if spread is not None:
            init_weights(self, config.n_layers)
            for table in (self.words, self.order):
                nn.init.normal_(table.weight, std=spread)

    def forward(self, ids: Tensor) -> Tensor:
        known = ids > 0  # not the padding
        x = self.words(ids) + self.order.weight[: ids.shape[1]]
        x = self.transformer(x, known[:, None])  # [B, T, D]
        return (x * known[..., None]).sum(dim=1) / known.sum(dim=1, keepdim=True)


class TextGenerator(nn.Module):
    """Latents [B, Z] and captions [B, T] to pictures [B, 3, 32, 32].

    The generator of `gan`, whose latent is followed by the caption's vector.
    """

    def __init__(self, config: TextToImageConfig):
        super().__init__()
        self.config = config
        self.text = TextEncoder(config)
        sizes = GANConfig(channels=3, image_size=32, width=config.width)
        self.paint = Generator(sizes, latent=config.latent + config.d_model)

    def forward(self, z: Tensor, ids: Tensor) -> Tensor:
        said = self.text(ids)
        return self.paint(torch.cat([z.to(said), said], dim=1))

    def latents(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n draws from the standard normal distribution, [n, Z]."""
        return torch.randn(n, self.config.latent, generator=generator).to(device_of(self))

    @torch.no_grad()
    def draw(self, ids: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A picture of each caption [N, T], from a latent drawn for it; [N, 3, 32, 32]."""
        z = self.latents(len(ids), generator)
        with evaluating(self):
            drawn = [self(*part) for part in zip(z.split(256), ids.to(z.device).split(256))]
        return torch.cat(drawn)


class MatchingDiscriminator(nn.Module):
    """Pictures [B, 3, 32, 32] and captions [B, T] to logits [B]: real, and is this what it says?

    `see` and `read` turn pictures and captions into vectors, so that each is looked at once,
    however many pairs are compared.
    """

    def __init__(self, config: TextToImageConfig):
        super().__init__()
        w, wide, D = config.eye, config.features, config.d_model
        self.read = TextEncoder(config)  # [B, T] to [B, D]
        self.eye = nn.Sequential(
            nn.PixelUnshuffle(2), nn.Conv2d(12, w, 3, padding=1), nn.LeakyReLU(0.2),  # side 16
            nn.Conv2d(w, 2 * w, 4, stride=2, padding=1), nn.LeakyReLU(0.2),  # side 8
            nn.Conv2d(2 * w, 4 * w, 4, stride=2, padding=1), nn.LeakyReLU(0.2),  # side 4
            nn.Flatten(), nn.Linear(64 * w, wide), nn.LeakyReLU(0.2),
        )  # fmt: skip
        self.seen, self.said = nn.Linear(wide, wide), nn.Linear(D, wide)
        self.judge = nn.Sequential(nn.Linear(2 * wide, wide), nn.LeakyReLU(0.2), nn.Linear(wide, 1))
        self.key, self.query = nn.Linear(wide, 128), nn.Linear(D, 128)

    def see(self, images: Tensor) -> Tensor:
        """Features [B, F] of pictures [B, 3, 32, 32]."""
        return self.eye(2 * images - 1)

    def match(self, seen: Tensor, said: Tensor) -> Tensor:
        """Logits [B] of features [B, F] and captions [B, D]: their product says what agrees."""
        both = self.seen(seen) * self.said(said)
        return self.judge(torch.cat([seen, both], dim=1)).squeeze(1).float()

    def alike(self, seen: Tensor, said: Tensor) -> Tensor:
        """Scores [B, N] of each picture with each of N captions: cosines, times 8."""
        key, query = (F.normalize(t.float(), dim=1) for t in (self.key(seen), self.query(said)))
        return SHARP * key @ query.T

    def forward(self, images: Tensor, ids: Tensor) -> Tensor:
        return self.match(self.see(images), self.read(ids))


class TextToImageGAN(nn.Module):
    """The generator and the discriminator, each with a text encoder of its own.

    They want opposite things of it, so neither may move the other's. `average` holds a running
    mean of the generator's weights; `settled` is what one keeps when the game is over.
    """

    def __init__(self, config: TextToImageConfig):
        super().__init__()
        self.config = config
        self.generator, self.discriminator = TextGenerator(config), MatchingDiscriminator(config)
        self.average = averaged(self.generator, config.average)

    def forward(self, images: Tensor, ids: Tensor, wrong: Tensor) -> tuple[Tensor, Tensor]:
        """One round: the losses of the discriminator and of the generator, in nats.

        The gradient of their sum moves each network by its own loss alone.

        Args: pictures [B, 3, 32, 32]; their captions [B, T]; captions of something else [B, T].
        """
        if self.training and self.average is not None:
            self.average.update_parameters(self.generator)
        judge, real = self.discriminator, self.veiled(images)
        drawn = self.veiled(self.generator(self.generator.latents(len(ids)), ids))
        seen, seen_drawn = judge.see(torch.cat([real, drawn.detach()])).chunk(2)
        said = judge.read(torch.cat([ids, wrong]))
        right, other = said.chunk(2)
        yes, no, mismatch = judge.match(
            torch.cat([seen, seen_drawn, seen]), torch.cat([right, right, other])
        ).chunk(3)
        ours = matching_aware(yes, no, mismatch, self.config.wrong)
        ours = ours + self.config.r1 / 2 * self.slope(real, right)
        with frozen(judge):
            seen_drawn, said_still = judge.see(drawn), said.detach()
            theirs = F.softplus(-judge.match(seen_drawn, said_still[: len(ids)])).mean()
            theirs = theirs + self.config.contrast * contrast(judge.alike(seen_drawn, said_still))
        ours = ours + self.config.contrast * contrast(judge.alike(seen, said))
        told = (yes > 0).float().mean() + (no < 0).float().mean()
        self.told = (told / 2).detach()  # 1/2 is a guess
        return ours, theirs

    def slope(self, real: Tensor, right: Tensor) -> Tensor:
        """R1, the mean squared slope at real pairs; a quarter of them is enough."""
        n = max(1, len(real) // 4)
        real = real[:n].detach().requires_grad_()
        logits = self.discriminator.match(self.discriminator.see(real), right[:n])
        return gradient_norms(logits, real).square().mean()

    def veiled(self, images: Tensor) -> Tensor:
        """Pictures as the discriminator sees them, through noise."""
        return images + self.config.noise * torch.randn(images.shape).to(images.device)

    def draw(self, ids: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """As `TextGenerator.draw`, by the average."""
        kept = self.generator if self.average is None else self.average.module
        return kept.draw(ids, generator)

    def settled(self) -> TextGenerator:
        """The generator to keep: the average, if there is one."""
        kept = self.generator if self.average is None else self.average.module
        return kept.requires_grad_(True)


def matching_aware(yes: Tensor, no: Tensor, mismatch: Tensor, wrong: float = 0.5) -> Tensor:
    """-log D(x, t) - (1 - ω) log(1 - D(G(z, t), t)) - ω log(1 - D(x, other t)), in nats.

    Reed et al. 2016, algorithm 1, where the share ω of wrong captions is 1/2.

    Args: logits [B] of real pictures with their captions, of drawn ones, and of real ones with
        captions of something else.
    """
    drawn, mismatched = F.softplus(no).mean(), F.softplus(mismatch).mean()
    return F.softplus(-yes).mean() + (1 - wrong) * drawn + wrong * mismatched


def contrast(scores: Tensor) -> Tensor:
    """-log of the share that softmax gives to each picture's own caption, in nats.

    Args: scores [B, N] of B pictures with N captions, of which the first B are their own.
    """
    return F.cross_entropy(scores, torch.arange(len(scores), device=scores.device))


def text_to_image_loss(model: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """The sum of both losses on pictures, captions and wrong captions, for `train`."""
    return sum(model(*batch))
