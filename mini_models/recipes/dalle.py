"""DALL-E recipes: named training runs of decoders that write a picture in the words of a dVAE."""

from dataclasses import replace

from mini_models import zoo
from mini_models.dalle import DALLE, DALLEConfig, dalle_loss
from mini_models.data import emoji
from mini_models.data.shapes.batches import ShapesBatches, english_tokenizer, shapes_sha256
from mini_models.recipes.judges import exact_by_split, image_nats
from mini_models.recipes.task import Recipe, Task
from mini_models.train import TrainConfig


def with_dvae(config: DALLEConfig, name: str) -> DALLE:
    """A fresh DALL-E that writes in the words of a dVAE of the zoo."""
    dvae, _ = zoo.load(name)
    sizes = {"image_vocab_size": dvae.config.codes, "image_length": dvae.config.grid**2}
    model = DALLE(replace(config, dvae=dvae.config, **sizes))
    model.dvae.load_state_dict(dvae.state_dict())
    return model


def dalle_shapes_task(recipe: Recipe, seed: int) -> Task:
    """A DALL-E of `shapes`, judged as the game of the same pictures is."""
    return Task(
        with_dvae(recipe.model, "dvae-shapes"), ShapesBatches(recipe.batch_size, seed), dalle_loss,
        exact_by_split, "mistakes a picture", shapes_sha256(), tokenizer=english_tokenizer(),
        item="pictures",
    )  # fmt: skip


def dalle_emoji_task(recipe: Recipe, seed: int) -> Task:
    """A DALL-E of emoji in two languages, judged by the likelihood of drawings never seen."""

    def measure(model: DALLE) -> dict:
        return {kind: image_nats(model, split) for kind, split in
                (("held_out", "drawings"), ("concepts", "concepts"))}  # fmt: skip

    return Task(
        with_dvae(recipe.model, "dvae-emoji"), emoji.EmojiBatches(recipe.batch_size, seed),
        dalle_loss, measure, "nats an image token", emoji.emoji_sha256(),
        tokenizer=emoji.emoji_tokenizer(), item="pictures",
    )  # fmt: skip


RECIPES = {
    "dalle-shapes": Recipe(
        "draws shapes from captions, as one stream of words; a quarter of an hour on two cores",
        dalle_shapes_task, DALLEConfig(),
        TrainConfig(steps=3000, lr=5e-3, optimizer="muon", decay=0.7), batch_size=64,
    ),
    "dalle-emoji": Recipe(
        "draws emoji from captions in English and Chinese; half an hour on two cores",
        dalle_emoji_task,
        DALLEConfig(
            emoji.EMOJI_VOCABULARY, text_length=emoji.EMOJI_TEXT_LENGTH, d_model=160, n_heads=5
        ),
        TrainConfig(steps=3000, lr=5e-3, optimizer="muon", decay=0.7), batch_size=64,
    ),
}  # fmt: skip
