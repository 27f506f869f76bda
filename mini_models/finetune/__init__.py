"""Fine-tuning: one pretrained body, and for each question a small head of its own."""

from mini_models.finetune.examples import (
    Example,
    answers_of,
    of_questions,
    of_texts,
    of_words,
    tags_of,
)
from mini_models.finetune.heads import (
    ExampleBatches,
    FineTuned,
    SequenceHead,
    SpanHead,
    TokenHead,
    collate,
    finetune,
    finetune_loss,
    predict,
)
