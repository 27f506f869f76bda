"""Watches: what a recipe looks out for while its model trains, and says in time.

A watch is called as watch(model, step), and returns what is wrong, or None.
"""

import torch

from mini_models.dvae import DVAE, perplexity
from mini_models.gan import GAN
from mini_models.machine.devices import device_of
from mini_models.recipes.judges import illustrated, prompts
from mini_models.text_to_image_gan import TextToImageGAN

WON = 0.98  # where more than this share of the images of a stretch is told right, it is over
ALIKE = 0.05  # drawings that differ by less than this share of what real images do are all alike


class GameWatch:
    """Notices, while a GAN trains, that its game is over: (model, step) -> what is wrong, or None.

    The discriminator has won where it told nearly all images of a stretch of steps right; the
    generator has collapsed where its drawings are nearly all the same, twice in a row.
    """

    def __init__(self, real: torch.Tensor, stretch: int = 300):
        self.stretch, self.spread = stretch, real.var(dim=0).mean()
        self.told, self.alike = [], 0

    def __call__(self, gan: GAN, step: int) -> str | None:
        self.told.append(gan.told)
        if step % self.stretch:
            return None
        told, self.told = torch.stack(self.told), []
        if len(told) == self.stretch and told.mean() > WON:
            return (
                "the discriminator tells nearly all images right, so the generator hardly learns: "
                "smooth it more (cure='r1' and a larger strength), or lower the learning rate"
            )
        self.alike = self.alike + 1 if self.drawn_spread(gan) < ALIKE * self.spread else 0
        if self.alike == 2:
            return (
                "the drawings are nearly all alike, the generator has collapsed: begin anew with "
                "a smoother discriminator (cure='r1', a larger strength) or a lower learning rate"
            )
        return None

    @torch.no_grad()
    def drawn_spread(self, gan: GAN) -> torch.Tensor:
        """How much 64 drawings of the latest generator vary, point by point."""
        latents = gan.latents(64, torch.Generator().manual_seed(0))
        drawn = gan.generator.eval()(latents).float()
        gan.generator.train()
        return drawn.var(dim=0).mean().cpu()


class ShapesWatch(GameWatch):
    """A `GameWatch` of a generator that also reads captions."""

    @torch.no_grad()
    def drawn_spread(self, gan: TextToImageGAN) -> torch.Tensor:
        """How much drawings of 64 captions by the latest generator vary, point by point."""
        return illustrated(gan.generator, prompts("train", 64)).var(dim=0).mean()


COLLAPSED = 2.0  # a codebook with a lower perplexity says next to nothing


class CodebookWatch:
    """Notices, while a dVAE trains, that its codebook has collapsed: (model, step) -> a warning.

    Twice in a row the words of some pictures are nearly always the same.
    """

    def __init__(self, images: torch.Tensor, every: int = 300):
        self.images, self.every, self.poor = images, every, 0

    def __call__(self, model: DVAE, step: int) -> str | None:
        if step % self.every:
            return None
        used = perplexity(model.encode(self.images.to(device_of(model))), model.config.codes)
        self.poor = self.poor + 1 if used < COLLAPSED else 0
        if self.poor == 2:
            return (
                f"the codebook has collapsed: its {model.config.codes} words have a perplexity of "
                f"{used:.1f}; begin anew from the words of k-means (DVAE.begin), or with a larger "
                "kl_weight"
            )
        return None
