"""CLIP recipes: named training runs of models that find pictures for texts, and the reverse."""

from mini_models.clip import CLIP, CLIPConfig, clip_loss
from mini_models.corpora import LANGUAGES
from mini_models.data import emoji
from mini_models.data.shapes.batches import SHAPES_TEXT_LENGTH, NearPairs, caption_tokenizer
from mini_models.data.shapes.grammar import SPLITS, caption, scenes
from mini_models.machine.files import digest
from mini_models.recipes.judges import emoji_gallery, shapes_gallery, told_apart
from mini_models.recipes.task import Recipe, Task
from mini_models.train import TrainConfig


def clip_shapes_task(recipe: Recipe, seed: int) -> Task:
    """Pairs of `shapes` in two languages, judged by 500 held-out scenes.

    "held_out" is the share of captions of either language whose picture is not found first.
    """

    def measure(model: CLIP) -> dict:
        found = {s: shapes_gallery(s).recalls(model) for s in ("seen", "held_out")}
        rows = {f"{s}_{key}": value for s, row in found.items() for key, value in row.items()}
        apart = {f"told_apart_{s}": told_apart(model, s) for s in found}
        return {"held_out": _missed(found["held_out"]), **rows, **apart}

    said = [caption(s, language) for part in SPLITS for s in scenes(part) for language in LANGUAGES]
    return Task(
        CLIP(recipe.model), NearPairs(recipe.batch_size, seed), clip_loss, measure,
        "mistakes a text", digest("\n".join(said)),
        tokenizer=caption_tokenizer(), item="pairs",
    )  # fmt: skip


def clip_emoji_task(recipe: Recipe, seed: int) -> Task:
    """Emoji and their names in two languages, judged by drawings of known and of new concepts.

    "held_out" is the share of names of known concepts whose new drawing is not found first.
    """

    def measure(model: CLIP) -> dict:
        found = {s: emoji_gallery(s).recalls(model) for s in ("drawings", "concepts")}
        rows = {f"{s}_{key}": value for s, row in found.items() for key, value in row.items()}
        return {"held_out": _missed(found["drawings"]), **rows}

    return Task(
        CLIP(recipe.model), emoji.LabelledEmoji(recipe.batch_size, seed), clip_loss, measure,
        "mistakes a text", emoji.emoji_sha256(), tokenizer=emoji.emoji_tokenizer(), item="pairs",
    )  # fmt: skip


def _missed(recalls: dict) -> float:
    return 1 - (recalls["en_r1"] + recalls["zh_r1"]) / 2


RECIPES = {
    "clip-shapes": Recipe(
        "finds pictures of shapes for captions in English and Chinese; five minutes on two cores",
        clip_shapes_task, CLIPConfig(vocab_size=51, text_length=SHAPES_TEXT_LENGTH["both"]),
        TrainConfig(steps=2500, lr=2e-3, decay=0.7), batch_size=128,
    ),
    "clip-emoji": Recipe(
        "finds emoji for names and keywords in English and Chinese; five minutes on two cores",
        clip_emoji_task,
        CLIPConfig(emoji.EMOJI_VOCABULARY, emoji.EMOJI_TEXT_LENGTH, spread=0.1),
        TrainConfig(steps=3500, lr=3e-3, decay=0.7), batch_size=128,
    ),
}  # fmt: skip
