"""Data: the texts and pictures that the book is trained on, their splits, and batches of them.

Each kind is a module of this folder; here is what the chapters ask for most.
"""

from mini_models.data.batches import (
    IGNORED,
    RowBatches,
    SequenceBatches,
    TextBatches,
    pad,
    windows,
)
from mini_models.data.fashion import fashion_mnist
from mini_models.data.labelled import Labelled, Tagged
from mini_models.data.prose import documents, split_documents
from mini_models.data.squad import Question
from mini_models.data.texts import Poem, other_plays, shakespeare, split, tang_quatrains
