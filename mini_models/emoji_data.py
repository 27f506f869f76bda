"""Emoji as data: batches of pictures with captions in two languages, and their tokenizer.

Shapes   B batch, T tokens of a caption
"""

import random
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import pad

from mini_models.captions import CaptionTokenizer
from mini_models.data import RowBatches
from mini_models.emoji import COMMA, SIDE, caption_of, emoji_split

EMOJI_VOCABULARY = 2048  # ids
EMOJI_LENGTH = 24  # T: every name and every keyword fits
WHITE = 255
MOVED = 1  # pixels, at most, in x and in y


@cache
def emoji_tokenizer() -> CaptionTokenizer:
    """Byte-pair codes learned from the names and keywords, in both languages, of "train"."""
    concepts = dict.fromkeys(emoji_split("train").emoji)
    said = []
    for one in concepts:
        said += [one.en, one.zh, *one.en_keywords, *one.zh_keywords]
    return CaptionTokenizer.train(said, EMOJI_VOCABULARY)


def fitting(caption: str, language: str, length: int = EMOJI_LENGTH) -> str:
    """A caption without the last keywords that do not fit in `length` tokens."""
    while len(emoji_tokenizer().encode(caption)) > length and COMMA[language] in caption:
        caption = caption.rpartition(COMMA[language])[0]
    return caption


class EmojiBatches:
    """Pictures of "train" with captions as ids; `batches[step]` is a function of the step.

    Every epoch takes each picture once, in a new order. Each time it is moved by up to one pixel
    on its white ground, and gets a caption of `caption_of` in one of the languages at random.

    Args:
        batch_size: B.
        seed: of the order, the moves and the captions.
    """

    def __init__(self, batch_size: int, seed: int = 0):
        self.pictures, self.seed = emoji_split("train"), seed
        self.tokenizer, self.length = emoji_tokenizer(), EMOJI_LENGTH  # T
        self._rows = RowBatches([torch.arange(len(self.pictures))], batch_size, seed)

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        """Images float32 [B, 3, 32, 32] from 0 to 1, and ids, int64 [B, T], padded with 0."""
        (rows,) = self._rows[step]
        draws = random.Random((self.seed + 1) * 1_000_003 + step)
        captions = []
        for row in rows.tolist():
            language = draws.choice(list(COMMA))
            said = caption_of(self.pictures.emoji[row], language, draws)
            captions.append(fitting(said, language, self.length))
        moves = [draws.randint(0, 2 * MOVED) for _ in range(2 * len(rows))]
        images = moved(self.pictures.images[rows], torch.tensor(moves).view(2, -1))
        return images / 255, self.tokenizer.encode_batch(captions, self.length)


def moved(images: Tensor, by: Tensor) -> Tensor:
    """Images [B, 3, 32, 32] on a white ground, cut out `by` int64 [2, B] pixels down and right.

    A cut at (1, 1) is the image itself; at (0, 0) it has moved one pixel down and one right.
    """
    wide = pad(images, (MOVED,) * 4, value=WHITE).permute(0, 2, 3, 1)  # [B, 34, 34, 3]
    y, x = by[:, :, None] + torch.arange(SIDE)  # [B, 32] each
    row = torch.arange(len(images))[:, None, None]
    return wide[row, y[:, :, None], x[:, None, :]].permute(0, 3, 1, 2)
