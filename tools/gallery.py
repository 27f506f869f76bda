"""Make the gallery: what every model draws, with the prompts, by the shipped models themselves.

python tools/gallery.py        writes book/gallery.md and book/gallery/
"""

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad

from mini_models import zoo
from mini_models.data.emoji import emoji_split
from mini_models.data.shapes import captioned, parse
from mini_models.machine.files import whole, write_whole
from mini_models.recipes.judges import nearest_in_training, prompts, through
from mini_models.zoo import drawn_by

BOOK = Path(__file__).resolve().parent.parent / "book"
TIMES = 2  # every pixel becomes so many, on a side
MANY = 8  # drawings of a prompt
COLOURS = 64  # of a file
PAGE = """# Gallery

Everything on this page was drawn by models that come with the book, with the prompts that stand \
beside it, and nothing was picked: the first drawings of a fixed seed. `make gallery` draws it all \
again. Each picture is 32 pixels on a side, or 28.

## Clothes, without a prompt

A [GAN](../notebooks/14_gan.ipynb) that has seen photographs of clothes draws what it likes.

{clothes}

## Shapes, by a game

The model of [text to image as a game](../notebooks/15_text_to_image_gan.ipynb) reads a caption \
and draws at one stroke. In the last three captions a colour meets a shape that it never met in \
training.

{game}

## Shapes, word by word

[DALL-E](../notebooks/17_dalle.ipynb) writes the same captions on as 64 image words.

{dalle_shapes}

It can also finish a picture. The upper half is given, the lower half is drawn, once for each \
caption.

{halves}

## Emoji, in English and in Chinese

One DALL-E for both languages, trained on emoji by Google (Noto) and Microsoft (Fluent) and their \
names. In the last column stands the training picture that is nearest to the first drawing, pixel \
by pixel: where both are alike, the model remembers more than it invents. First come names that \
it has learned.

{emoji}

And these are nobody's name. What they ask for was in no training caption.

{composed}

## Through the words of a dVAE

Each second row is the first one, put into 64 words by a [dVAE](../notebooks/16_dvae.ipynb) and \
painted from them: scenes of the held-out pairs, and emoji that were kept from training.

{words}
"""
CLOTHES = "sixteen pieces of clothing, drawn without a prompt"
LEARNED = (
    "cat face", "猫脸", "sun", "太阳", "sleeping face", "睡着了", "rocket", "火箭",
)  # fmt: skip
COMPOSED = (
    "a sleeping cat", "一只猫在睡觉", "sleeping cat", "睡觉的猫",
    "smiling star", "微笑的星星", "blue cat", "蓝色的猫",
)  # fmt: skip


def strip(name: str, images: Tensor, columns: int = 4) -> str:
    """Save images [N, C, H, W] in rows of so many; returns the file's place, seen from the page."""
    framed = pad(images.cpu(), (1, 1, 1, 1), value=1.0)
    row = torch.cat([torch.cat(list(some), dim=2) for some in framed.split(columns)], dim=1)
    row = row.clamp(0, 1).mul(255).round().to(torch.uint8).expand(3, -1, -1)
    row = row.repeat_interleave(TIMES, 1).repeat_interleave(TIMES, 2).permute(1, 2, 0)
    path = BOOK / "gallery" / f"{name}.png"
    page = Image.fromarray(row.contiguous().numpy()).quantize(COLOURS, dither=Image.Dither.NONE)
    with whole(path) as part:
        page.save(part, format="PNG", optimize=True)  # of few colours, a third of the weight
    return f"gallery/{path.name}"


def picture(name: str, images: Tensor, alt: str, columns: int = 4) -> str:
    return f"![{alt}]({strip(name, images, columns)})"


def table(*rows: tuple[str, ...]) -> str:
    """A table whose first row is the heading."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def of_prompts(name: str, asked, nearest: bool = False, start: int = 0) -> str:
    """A table of drawings by a model of the zoo for each prompt."""
    model, tokenizer = zoo.load(name)
    rows = [("prompt", "drawings") + (("nearest in training",) if nearest else ())]
    for i, prompt in enumerate(asked, start):
        images = drawn_by(model, tokenizer, prompt, MANY, torch.Generator().manual_seed(i))
        row = (prompt, picture(f"{name}-{i}", images, f"{MANY} drawings of: {prompt}"))
        if nearest:
            same, which = nearest_in_training(images[:1])
            row += (picture(f"{name}-{i}-nearest", same, f"training picture of: {which[0].en}"),)
        rows.append(row)
    return table(*rows)


def halves() -> str:
    model, tokenizer = zoo.load("dalle-shapes")
    images, captions = captioned("train", 200, seed=7)
    above = [i for i, c in enumerate(captions) if parse(c).relation == "above" and " above " in c]
    rows = [("caption", "given", "drawn")]
    for i in above[:3]:
        ids = tokenizer.encode_batch([captions[i]] * MANY, model.config.text_length)
        given, draws = images[[i] * MANY], torch.Generator().manual_seed(i)
        upper = images[i : i + 1, :, : images.shape[2] // 2]
        finished = model.complete(ids, given, model.config.grid // 2, draws)
        rows.append((
            captions[i],
            picture(f"half-{i}", pad(upper, (0, 0, 0, 16), value=1.0), "the upper half"),
            picture(f"half-{i}-drawn", finished, f"{MANY} ways to finish it"),
        ))  # fmt: skip
    return table(*rows)


def words() -> str:
    rows = [("pictures", "before and after")]
    emoji = emoji_split("concepts").floats()[::20][:MANY]
    for kind, images in (("shapes", captioned("held_out", MANY, seed=3)[0]), ("emoji", emoji)):
        model, _ = zoo.load(f"dvae-{kind}")
        both = torch.cat([images, through(model, images)[0]], dim=2)  # one above the other
        rows.append((kind, picture(f"dvae-{kind}", both, f"{kind}, and their reconstructions")))
    return table(*rows)


def clothes() -> str:
    model, _ = zoo.load("gan-fashion")
    images = drawn_by(model, None, None, 16, torch.Generator().manual_seed(0))
    return picture("gan-fashion", images, CLOTHES, columns=8)


def main() -> None:
    (BOOK / "gallery").mkdir(exist_ok=True)
    for old in (BOOK / "gallery").glob("*.png"):
        old.unlink()
    asked = [*prompts("seen", 5), *prompts("held_out", 3)]
    page = PAGE.format(
        clothes=clothes(),
        game=of_prompts("gan-shapes", asked),
        dalle_shapes=of_prompts("dalle-shapes", asked),
        halves=halves(),
        emoji=of_prompts("dalle-emoji", LEARNED, nearest=True),
        composed=of_prompts("dalle-emoji", COMPOSED, nearest=True, start=len(LEARNED)),
        words=words(),
    )
    write_whole(BOOK / "gallery.md", page)
    print(f"wrote {BOOK / 'gallery.md'}")


if __name__ == "__main__":
    main()
