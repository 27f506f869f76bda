"""Shapes: drawn pictures of one or two objects, each with a caption in English and in Chinese.

They are the measuring stick of the chapters on images. A scene says exactly what is to be seen;
`caption` writes it as a sentence, `parse` reads the sentence, `draw` draws the scene, and
`oracle.scenes_in` reads the drawing, by geometry and colour and without a network.
"""

from mini_models.data.shapes.batches import MatchingBatches, captioned, english_tokenizer
from mini_models.data.shapes.drawing import (
    BACKGROUND,
    COLOURS,
    SHAPES,
    SIZES,
    coverage,
    distance,
    draw,
)
from mini_models.data.shapes.grammar import (
    HELD_OUT_PAIRS,
    RELATIONS,
    SPLITS,
    Scene,
    Thing,
    caption,
    parse,
    scenes,
)
