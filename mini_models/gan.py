"""GAN: two networks in a game; one draws, the other tells its drawings from real ones.

Both follow their own loss at once, so a GAN trains by `train` as any other model does.

Shapes   B batch, Z latent width, C channels, S image side; images [B, C, S, S] with values in 0..1
Source   Goodfellow et al. 2014, arXiv:1406.2661 (the game); Radford et al. 2016, arXiv:1511.06434
         (DCGAN, the networks); Mescheder et al. 2018, arXiv:1801.04406 (R1); Gulrajani et al. 2017,
         arXiv:1704.00028 (gradient penalty); Miyato et al. 2018, arXiv:1802.05957 (spectral norm)
Derived  notebooks/14_gan.ipynb
"""

import contextlib
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mini_models.machine import settings
from mini_models.machine.devices import device_of
from mini_models.machine.evaluating import evaluating

# Each loss takes the discriminator's logits of real and of drawn inputs, [B] each, and gives what
# the discriminator and what the generator make small. log σ(x) is -softplus(-x), which neither
# overflows nor loses its gradient; 1 - σ(x) is σ(-x).


def minimax(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """-log D(x) - log(1 - D(G(z))) and log(1 - D(G(z))): Goodfellow et al. 2014, eq. 1."""
    drawn = F.softplus(fake).mean()  # -log(1 - D(G(z)))
    return F.softplus(-real).mean() + drawn, -drawn


def non_saturating(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """The generator makes -log D(G(z)) small instead: Goodfellow et al. 2014, section 3."""
    return minimax(real, fake)[0], F.softplus(-fake).mean()


def hinge(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """Logits beyond ±1 count no more: Lim and Ye 2017, arXiv:1705.02894."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean(), -fake.mean()


def wasserstein(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """The difference of two means, for a smooth discriminator: Arjovsky et al. 2017, eq. 2."""
    return fake.mean() - real.mean(), -fake.mean()


LOSSES = {"minimax": minimax, "non-saturating": non_saturating,
          "hinge": hinge, "wasserstein": wasserstein}  # fmt: skip
CURES = ("none", "r1", "gradient-penalty", "spectral-norm")


def gradient_norms(logits: Tensor, inputs: Tensor) -> Tensor:
    """How steep the discriminator is at each input: [B] norms of d logit / d input.

    `inputs` [B, ...] must have required gradients before the logits [B] were computed; the norms
    can be differentiated again.
    """
    (slopes,) = torch.autograd.grad(logits.sum(), inputs, create_graph=True)
    return slopes.flatten(1).square().sum(dim=1).add(1e-12).sqrt()


def r1_penalty(discriminator: nn.Module, real: Tensor) -> Tensor:
    """The mean squared slope at real inputs: Mescheder et al. 2018, eq. 9 (without γ/2)."""
    real = real.detach().requires_grad_()
    return gradient_norms(discriminator(real), real).square().mean()


def gradient_penalty(discriminator: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """(slope - 1)² between real and drawn inputs: Gulrajani et al. 2017, eq. 3 (without λ)."""
    share = torch.rand(len(real), *[1] * (real.ndim - 1)).to(real)
    between = torch.lerp(real.detach(), fake.detach().to(real.dtype), share).requires_grad_()
    return (gradient_norms(discriminator(between), between) - 1).square().mean()


def normalise_spectrum(network: nn.Module) -> nn.Module:
    """Divide the weights of every linear and convolution layer by their largest singular value."""
    for layer in list(network.modules()):
        if isinstance(layer, (nn.Linear, nn.modules.conv._ConvNd)):
            parametrizations.spectral_norm(layer)
    return network


@contextlib.contextmanager
def frozen(network: nn.Module):
    """What is computed within follows gradients through the network, but not into its weights."""
    weights = [w for w in network.parameters() if w.requires_grad]
    try:
        for w in weights:
            w.requires_grad_(False)
        yield network
    finally:
        for w in weights:
            w.requires_grad_(True)


@dataclass(frozen=True)
class GANConfig:
    """The game's rules, and the sizes of the two networks where they draw images."""

    latent: int = 64  # Z
    channels: int = 1  # C of the images
    image_size: int = 28  # S; a multiple of 4
    width: int = 32  # channels of the layer next to the image; they double where its side halves
    loss: str = "non-saturating"  # one of LOSSES
    cure: str = "r1"  # one of CURES: what keeps the discriminator smooth
    strength: float = 0.5  # of the penalty: γ/2 of R1, λ of the gradient penalty
    average: float = 0.998  # share of the generator's average kept at each step; 0: no average

    def __post_init__(self):
        settings.counts(self, "latent", "channels", "width")
        settings.number(self, "strength")
        settings.share(self, "average")
        settings.one_of(self, loss=LOSSES, cure=CURES)
        if self.image_size < 8 or self.image_size % 4:
            raise ValueError(f"image_size is {self.image_size}: give a multiple of 4, at least 8")


class Generator(nn.Module):
    """Latents [B, Z] to images [B, C, S, S]: each layer doubles the side (DCGAN, figure 1)."""

    def __init__(self, config: GANConfig, latent: int | None = None):
        super().__init__()
        widths, self.side = _stages(config)
        self.spread = nn.Linear(latent or config.latent, widths[0] * self.side**2)
        layers = [nn.BatchNorm2d(widths[0]), nn.ReLU()]
        for wide, narrow in zip(widths, widths[1:]):
            layers += [nn.ConvTranspose2d(wide, narrow, 4, stride=2, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(narrow), nn.ReLU()]
        layers += [nn.ConvTranspose2d(widths[-1], config.channels, 4, stride=2, padding=1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        x = self.spread(z).unflatten(1, (-1, self.side, self.side))
        return self.layers(x).sigmoid()  # DCGAN's tanh, from 0 to 1 instead of from -1


class Discriminator(nn.Module):
    """Images [B, C, S, S] to logits [B], above 0 where real is the likelier: each layer halves."""

    def __init__(self, config: GANConfig):
        super().__init__()
        widths, side = _stages(config)
        widths = [config.channels, *reversed(widths)]
        layers = []
        for narrow, wide in zip(widths, widths[1:]):
            layers += [nn.Conv2d(narrow, wide, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(widths[-1] * side**2, 1))

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(2 * images - 1).squeeze(1)


def _stages(config: GANConfig) -> tuple[list[int], int]:
    """The widths of the layers from the smallest map to the largest, and the smallest's side."""
    widths, side = [config.width], config.image_size // 2
    while side % 2 == 0 and side > 4:
        widths, side = [2 * widths[0], *widths], side // 2
    return widths, side


def averaged(network: nn.Module, share: float) -> AveragedModel | None:
    """What holds a running mean of a network's weights, of which `share` is kept at each step; None
    if that is 0."""
    if not share:
        return None
    rule = get_ema_multi_avg_fn(share)
    return AveragedModel(network, multi_avg_fn=rule).requires_grad_(False)


class GAN(nn.Module):
    """A generator and a discriminator that play against each other.

    Args:
        config: a `GANConfig`.
        generator, discriminator: other networks than DCGAN's: latents [B, Z] to inputs [B, ...],
            and inputs to logits [B].
    `average` holds a running mean of the generator's weights: it draws better than any one step's.
    When the game is over, `settled` keeps that one alone.
    """

    def __init__(self, config: GANConfig, generator=None, discriminator=None):
        super().__init__()
        self.config = config
        self.generator = Generator(config) if generator is None else generator
        self.discriminator = Discriminator(config) if discriminator is None else discriminator
        if config.cure == "spectral-norm":
            normalise_spectrum(self.discriminator)
        self.average = averaged(self.generator, config.average)

    def forward(self, real: Tensor) -> tuple[Tensor, Tensor]:
        """One round of the game: the losses of the discriminator and of the generator.

        The gradient of their sum moves each network by its own loss alone.
        """
        if self.training and self.average is not None:
            self.average.update_parameters(self.generator)
        loss = LOSSES[self.config.loss]
        fake = self.generator(self.latents(len(real)))
        logits = self.discriminator(torch.cat([real, fake.detach().to(real.dtype)])).float()
        real_logits, fake_logits = logits.chunk(2)
        ours = loss(real_logits, fake_logits)[0] + self.config.strength * self.penalty(real, fake)
        with frozen(self.discriminator) as judge:
            theirs = loss(real_logits.detach(), judge(fake).float())[1]
        # of all the images shown to it, how many the discriminator tells right: 1/2 is a guess
        told = (real_logits > 0).float().mean() + (fake_logits < 0).float().mean()
        self.told = (told / 2).detach()
        return ours, theirs

    def penalty(self, real: Tensor, fake: Tensor):
        if self.config.cure == "r1":
            return r1_penalty(self.discriminator, real)
        if self.config.cure == "gradient-penalty":
            return gradient_penalty(self.discriminator, real, fake)
        return 0.0

    def latents(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n draws from the standard normal distribution, [n, Z]."""
        return torch.randn(n, self.config.latent, generator=generator).to(device_of(self))

    @torch.no_grad()
    def draw(self, z: Tensor) -> Tensor:
        """What the averaged generator draws from latents [B, Z]."""
        artist = self.generator if self.average is None else self.average
        with evaluating(artist):
            return artist(z)

    def settled(self) -> "GAN":
        """The game when it is over, to keep: its generator is the average, and nothing averages."""
        if self.average is None:
            return self
        bare = replace(self.config, average=0.0, cure="none")  # its spectrum is normalised already
        kept = GAN(bare, self.average.module, self.discriminator)
        kept.config = replace(self.config, average=0.0)
        return kept.requires_grad_(True)


def gan_loss(model: nn.Module, batch) -> Tensor:
    """The sum of both losses on a batch that begins with real inputs, for `train`."""
    return sum(model(batch[0]))
