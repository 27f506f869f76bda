"""Beam search: keep several beginnings, and give up none of them for one step's sake.

Shapes   B texts, W beams of each, T tokens so far, V vocabulary size
Source   Lowerre 1976 (The Harpy Speech Recognition System); Wu et al. 2016, arXiv:1609.08144,
         section 7 (with neural models)
Derived  notebooks/09_decoding.ipynb
"""

import torch
from torch import Tensor


def beam_search(read, text: Tensor, rules, beams: int) -> Tensor:
    """The most probable continuation that W beams find, by the sum of its tokens' ln p.

    All W beginnings of a text are continued by all V tokens, and the W most probable of these
    W · V go on. A text that has stopped goes on unchanged and keeps its probability.

    Args:
        read: `decoding.Reader` of B · W rows.
        text: ids [B, total], the prompts and room for what is to come.
        rules: `rules.Rules`; its temperature, top_k and top_p play no part.
        beams: W.
    Returns: ids [B, total], or fewer columns if all beams of all texts have stopped.
    """
    (B, total), W = text.shape, beams
    text = text.repeat_interleave(W, dim=0)  # [B * W, total]
    sums = text.new_full((B, W), -torch.inf, dtype=torch.float)
    sums[:, 0] = 0.0  # W copies of one beginning: all but the first would only repeat it
    first = W * torch.arange(B, device=text.device)[:, None]  # the row of each text's first beam
    end = rules.start
    while end < total and not rules.all_finished(text[:, :end]):
        found = rules.log_probabilities(read(text[:, :end])[:, -1], text[:, :end])  # [B * W, V]
        V = found.shape[-1]
        all_sums = sums[:, :, None] + found.view(B, W, V)
        sums, best = all_sums.flatten(1).topk(W, dim=1)  # each [B, W], the most probable first
        rows = (first + best // V).flatten()  # [B * W], the beginning that each new one continues
        text = text[rows]
        text[:, end] = (best % V).flatten()
        read.reorder(rows)
        end += 1
    return text.view(B, W, total)[:, 0, :end]
