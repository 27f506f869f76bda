"""DALL-E: a caption and a picture are one stream of tokens, each predicted from those before it.

First come the words of the caption, then the words that a dVAE makes of the picture, row by row.
One decoder learns both. To draw, it is given a caption and asked how the stream goes on.

Shapes   B batch, T text tokens, g side of the grid, N = g² image tokens, D model width, V tokens;
         captions int64 [B, T], padded with 0; grids of image words int64 [B, g, g]
Source   Ramesh et al. 2021, arXiv:2102.12092, section 2.2 and appendix B.1
Derived  notebooks/17_dalle.ipynb
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mini_models.decoding.cache import KeyValueCache
from mini_models.decoding.loop import generate
from mini_models.dvae import DVAE, DVAEConfig
from mini_models.machine import settings
from mini_models.machine.devices import device_of
from mini_models.sparse import PATTERNS, stream_masks
from mini_models.transformer import Transformer, init_weights

TEXT_WEIGHT = 1 / 8  # of the caption in the loss; the picture has the rest
TOGETHER = 256  # pictures drawn side by side
LIKELY = 0.95  # what the words among which one is drawn add up to; beyond lie the accidents


@dataclass(frozen=True)
class DALLEConfig:
    """All sizes of one DALL-E: a start, T text tokens, N image tokens."""

    text_vocab_size: int = 23  # words, and the padding, which is 0
    image_vocab_size: int = 1024
    text_length: int = 10  # T
    image_length: int = 64  # N, a square number
    n_layers: int = 6  # L
    n_heads: int = 4  # H
    d_model: int = 128  # D
    d_ff: int | None = None  # F; None: 4 D
    attention: str = "sparse"  # one of sparse.PATTERNS
    kernel: int = 5  # side of the square that the last layer looks at; theirs is 11
    dvae: DVAEConfig | None = None  # of what makes pictures into words; None: only the stream

    def __post_init__(self):
        if isinstance(self.dvae, dict):  # as it is stored in a file
            object.__setattr__(self, "dvae", DVAEConfig(**self.dvae))
        sizes = ("text_vocab_size", "image_vocab_size", "text_length", "image_length", "n_layers")
        settings.counts(self, *sizes, "n_heads", "d_model", "d_ff", "kernel")
        settings.one_of(self, attention=PATTERNS)
        settings.heads(self)
        if self.grid**2 != self.image_length:
            raise ValueError(
                f"{self.image_length} image tokens fill no square: give a square number, such as 64"
            )
        ours = (self.image_vocab_size, self.image_length)
        if self.dvae and (self.dvae.codes, self.dvae.grid**2) != ours:
            raise ValueError(
                f"the dVAE makes {self.dvae.grid**2} of {self.dvae.codes} words of a picture, but "
                f"the stream has {ours[1]} of {ours[0]}: let both be the same"
            )

    @property
    def grid(self) -> int:
        """g, image tokens in a row."""
        return round(self.image_length**0.5)

    @property
    def first_image_id(self) -> int:
        """Image tokens follow the words and a padding of its own for each text position."""
        return self.text_vocab_size + self.text_length

    @property
    def vocab_size(self) -> int:
        """V."""
        return self.first_image_id + self.image_vocab_size

    @property
    def context_length(self) -> int:
        """Tokens of the whole stream, 1 + T + N."""
        return 1 + self.text_length + self.image_length


class StreamDecoder(nn.Module):
    """Streams of tokens to the logits of each next one.

    Ids of the stream: 0 starts it; then the words; then a padding for each text position; then the
    image words. The output layer is the token embedding again.
    """

    def __init__(self, config: DALLEConfig):
        super().__init__()
        self.config = c = config
        self.tokens = nn.Embedding(c.vocab_size, c.d_model)
        self.order = nn.Embedding(1 + c.text_length, c.d_model)  # positions of the text
        self.rows = nn.Embedding(c.grid, c.d_model)  # the vectors of its row and of its column
        self.columns = nn.Embedding(c.grid, c.d_model)  # say where an image token lies
        self.transformer = Transformer(
            c.n_layers, c.d_model, c.n_heads, c.d_ff, activation="gelu_tanh"
        )
        init_weights(self, c.n_layers)
        masks = stream_masks(c.attention, c.n_layers, 1 + c.text_length, c.grid, c.kernel)
        self.register_buffer("masks", torch.stack(masks), persistent=False)

    def stream(self, ids: Tensor, words: Tensor) -> Tensor:
        """Captions [B, T] and the image words that are known, [B, n], as one stream [B, 1+T+n].

        Raises: ValueError if the captions have another length, or ids that are no word's.
        """
        c = self.config
        if ids.ndim != 2 or ids.shape[1] != c.text_length:
            raise ValueError(
                f"captions have shape {list(ids.shape)}: give [B, {c.text_length}], padded with 0"
            )
        if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < c.text_vocab_size:
            raise ValueError(
                f"captions have ids from {int(ids.min())} to {int(ids.max())}: "
                f"this model knows 0 to {c.text_vocab_size - 1}"
            )
        paddings = torch.arange(c.text_vocab_size, c.first_image_id, device=ids.device)
        said = torch.where(ids > 0, ids, paddings)
        return torch.cat([ids.new_zeros(len(ids), 1), said, words + c.first_image_id], dim=1)

    def embed(self, stream: Tensor, start: int = 0) -> Tensor:
        """Tokens [B, n] from position `start` on as vectors [B, n, D], their places added."""
        image = (self.rows.weight[:, None] + self.columns.weight).flatten(0, 1)  # [N, D]
        places = torch.cat([self.order.weight, image])  # [1+T+N, D]
        return self.tokens(stream) + places[start : start + stream.shape[1]]

    def hidden(self, stream: Tensor) -> Tensor:
        """A stream [B, n] as the output layer meets it, [B, n, D]."""
        n = stream.shape[1]
        return self.transformer(self.embed(stream), list(self.masks[:, :n, :n]))

    def forward(self, stream: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        """Logits [B, n, V] of the token after each one of a stream [B, n].

        Where text is to come no image token has a chance, and the other way round: -inf.
        With a cache from `new_cache` the stream continues what it has read, without gradients.
        """
        start = cache.length if cache is not None else 0
        if cache is None:
            logits = F.linear(self.hidden(stream), self.tokens.weight)
        else:
            logits = cache.read(self.embed(stream, start))
        c, place = self.config, stream.device
        image_next = torch.arange(start, start + stream.shape[1], device=place) >= c.text_length
        image_token = torch.arange(c.vocab_size, device=place) >= c.first_image_id
        return logits.masked_fill(image_next[:, None] != image_token, -torch.inf)

    def losses(self, stream: Tensor) -> tuple[Tensor, Tensor]:
        """Mean cross-entropy of text and of image tokens, nats per token, in streams [B, 1+T+N]."""
        c, table = self.config, self.tokens.weight
        text, image = self.hidden(stream[:, :-1]).split([c.text_length, c.image_length], dim=1)
        said, seen = stream[:, 1:].split([c.text_length, c.image_length], dim=1)
        text = F.linear(text, table[: c.first_image_id])  # only what can come there: as `forward`
        image = F.linear(image, table[c.first_image_id :])
        return (
            F.cross_entropy(text.flatten(0, 1).float(), said.flatten()),
            F.cross_entropy(image.flatten(0, 1).float(), (seen - c.first_image_id).flatten()),
        )

    def new_cache(self, batch: int) -> KeyValueCache:
        """An empty key-value cache for `batch` streams."""
        size = self.config.context_length
        return KeyValueCache(self.transformer, self.tokens.weight, batch, size, self.masks)


class DALLE(nn.Module):
    """A decoder of streams, and the dVAE, trained before it, that makes pictures into words.

    Raises: ValueError if the config has no dVAE.
    """

    def __init__(self, config: DALLEConfig):
        super().__init__()
        if config.dvae is None:
            raise ValueError("this DALL-E would see nothing: set the config's dvae")
        self.config = config
        self.decoder = StreamDecoder(config)
        self.dvae = DVAE(config.dvae).requires_grad_(False)

    def forward(self, images: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """The losses of text and of image tokens, nats per token.

        Args: images [B, 3, S, S] and their captions [B, T].
        """
        words = self.dvae.encode(images).flatten(1)  # [B, N]
        return self.decoder.losses(self.decoder.stream(ids, words))

    def write(self, ids: Tensor, known: Tensor, generator=None, top_p=LIKELY, **how) -> Tensor:
        """Grids of words [B, g, g] for captions [B, T]; they begin with the words known, [B, n].

        Args: top_p, and `how`: temperature, top_k, as in `decoding.generate`.
        """
        c, grids = self.config, []
        for some, words in zip(ids.split(TOGETHER), known.split(TOGETHER)):
            stream = self.decoder.stream(some, words)
            left = c.context_length - stream.shape[1]
            stream = generate(self.decoder, stream, left, generator=generator, top_p=top_p, **how)
            grids.append(stream[:, 1 + c.text_length :] - c.first_image_id)
        return torch.cat(grids).view(-1, c.grid, c.grid)

    def draw(self, ids: Tensor, generator: torch.Generator | None = None, **how) -> Tensor:
        """A picture of each caption [B, T], written word by word; [B, 3, S, S] from 0 to 1.

        Args: `how`: top_p (LIKELY if not given), temperature, top_k, as in `decoding.generate`.
        Raises: ValueError as `StreamDecoder.stream`.
        """
        ids = ids.to(device_of(self))
        return self.dvae.decode(self.write(ids, ids[:, :0], generator, **how))

    def complete(self, images: Tensor, ids: Tensor, rows: int, generator=None, **how) -> Tensor:
        """Pictures that keep the first rows of words of images [B, 3, S, S]; the rest is drawn.

        Args: captions [B, T]; how many rows to keep, from 0 to g; `how` as in `draw`.
        Raises: ValueError as `draw`, or for another number of rows or of images.
        """
        grid, place = self.config.grid, device_of(self)
        if not 0 <= rows <= grid:
            raise ValueError(f"{rows} rows cannot be kept: a picture has {grid}, keep 0 to {grid}")
        if len(ids) != len(images):
            raise ValueError(f"{len(images)} images and {len(ids)} captions: give one for each")
        known = self.dvae.encode(images.to(place))[:, :rows].flatten(1)
        return self.dvae.decode(self.write(ids.to(place), known, generator, **how))


def dalle_loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """1/8 of the text's loss and 7/8 of the picture's, in nats per token (section 2.2).

    Args: batch: images [B, 3, S, S] and captions [B, T].
    """
    text, image = model(*batch)
    return TEXT_WEIGHT * text + (1 - TEXT_WEIGHT) * image
