"""Cache: read a text a few tokens at a time, and compute nothing twice.

What a causal model has computed for a token never changes when others follow, and all that later
tokens ask of it are its keys and values. So they are kept, and a new token costs one product of
each matrix with one vector. These are so short that the time Python takes to find a module and
its weights shows: both are looked up once, and what is left is the arithmetic itself.

Shapes   B batch, T new positions, D model width, H heads, K = D / H head width, L layers,
         V vocabulary size, F width of a product, P parts of a matrix
Source   Vaswani et al. 2017, arXiv:1706.03762, section 3.2.3 (what comes later is masked out)
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention

from mini_models.attention import causal_mask

WORTH_SHARING = 2**16  # numbers of a matrix that keep one core busy for longer than the sharing
MOST_PARTS = 64
# the operator behind torch.compile's linear layers on a CPU; not in every build of torch
ONEDNN = hasattr(torch.ops.mkldnn, "_linear_pointwise")
WORTH_ONEDNN = 2**20  # multiplications that are worth the call


class KeyValueCache:
    """The keys and values of what a causal model of pre-norm blocks has read.

    One buffer [L, 2, B, H, context_length, K], keys before values; `length` positions are filled.
    Memory is 2 · L · D · bytes per number, for each position of each sequence. It serves the
    weights that the model has now: after a training step, or on another device, make a new one.

    Args:
        transformer: a `transformer.Transformer`.
        head: the weight of the output layer, [V, D].
        batch: how many sequences are read side by side, B.
        context_length: how many positions there is room for.
        masks: where each layer may look if it is not everywhere before, bool
            [L, context_length, context_length].
    Raises: ValueError if the blocks are post-norm.
    """

    def __init__(
        self, transformer: nn.Module, head: Tensor, batch: int, context_length: int,
        masks: Tensor | None = None,
    ):  # fmt: skip
        blocks = transformer.blocks
        if not blocks[0].pre_norm:
            raise ValueError("the blocks are post-norm: a key-value cache reads pre-norm blocks")
        attention = blocks[0].attention
        self.n_heads, self.rotary = attention.n_heads, attention.rotary
        self.context_length, self.length = context_length, 0
        head_width = head.shape[1] // self.n_heads
        shape = (len(blocks), 2, batch, self.n_heads, context_length, head_width)
        self.buffer = torch.empty(shape, dtype=head.dtype, device=head.device)
        self.masks = [None] * len(blocks) if masks is None else masks
        self.layers = [(kv, *_functions(block)) for kv, block in zip(self.buffer, blocks)]
        self.norm, self.head = _normalise(transformer.norm), _multiply(head)

    @torch.no_grad()
    def read(self, x: Tensor) -> Tensor:
        """The logits [B, T, V] after x [B, T, D], the positions that follow those read so far.

        The arithmetic is that of `Transformer` under the causal mask, without dropout and without
        gradients. Raises ValueError if there is no room for T more positions.
        """
        (B, T, D), H = x.shape, self.n_heads
        start, end = self.length, self.length + T
        if end > self.context_length:
            raise ValueError(
                f"{end} positions do not fit in a cache of {self.context_length}: "
                "read fewer, or make a larger cache"
            )
        causal = causal_mask(T, end, x.device) if T > 1 else None  # the newest sees all before it
        for layer, mask in zip(self.layers, self.masks):
            kv, norm1, qkv, out, norm2, inner, activation, outer = layer
            new = qkv(norm1(x)).view(B, T, 3, H, D // H).permute(2, 0, 3, 1, 4)  # [3, B, H, T, K]
            if self.rotary is not None:
                new = torch.cat([self.rotary(new[:2], start), new[2:]])
            kv[:, :, :, start:end] = new[1:]
            keys, values = kv[:, :, :, :end].unbind(0)  # each [B, H, end, K]
            allowed = causal if mask is None else mask[start:end, :end]
            heads = _attend(new[0], keys, values, allowed)  # [B, H, T, K]
            x = x + out(heads.transpose(1, 2).reshape(B, T, D))
            x = x + outer(activation(inner(norm2(x))))
        self.length = end
        return self.head(self.norm(x))

    def rewind(self, length: int) -> None:
        """Forget all but the first `length` positions. Raises ValueError if fewer were read."""
        if not 0 <= length <= self.length:
            raise ValueError(f"{self.length} positions were read: there is no going to {length}")
        self.length = length

    def reorder(self, rows: Tensor) -> None:
        """Sequence i becomes what sequence rows[i] was, rows int64 [B]."""
        filled = self.buffer[:, :, :, :, : self.length]
        filled.copy_(filled[:, :, rows])  # in place: the layers hold views of the buffer


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Attention of queries [B, H, T, K] over keys and values [B, H, S, K]; returns [B, H, T, K].

    torch's fused kernel is slow at one query for each of many sequences: those are two products.
    """
    B, H, T, K = q.shape
    if B == 1 or T > 1 or q.device.type != "cpu":
        return scaled_dot_product_attention(q, k, v, mask)
    q, k, v = (t.flatten(0, 1) for t in (q, k, v))  # [B * H, ...], views
    scores = torch.baddbmm(q.new_zeros(1), q, k.mT, beta=0, alpha=K**-0.5)  # [B * H, 1, S]
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return torch.bmm(scores.softmax(dim=-1), v).view(B, H, T, K)


def _functions(block: nn.Module) -> tuple:
    """What a `Block` computes, as plain functions in the order of their use."""
    attention, feed_forward = block.attention, block.feed_forward
    return (
        _normalise(block.norm1),
        _multiply(attention.qkv.weight, attention.qkv.bias),
        _multiply(attention.out.weight, attention.out.bias),
        _normalise(block.norm2),
        _multiply(feed_forward.inner.weight, feed_forward.inner.bias),
        feed_forward.activation,
        _multiply(feed_forward.outer.weight, feed_forward.outer.bias),
    )


def _normalise(norm: nn.Module):
    """x [..., D] to LayerNorm(x), as a function that has the weights at hand."""
    shape, weight, bias, eps = norm.weight.shape, norm.weight, norm.bias, norm.eps
    return lambda x: torch.layer_norm(x, shape, weight, bias, eps)


def _multiply(weight: Tensor, bias: Tensor | None = None):
    """x [B, T, D] to x weightᵀ + bias [B, T, F], as a function that has the weights at hand.

    On a CPU, torch multiplies a matrix by one vector on one core. Cut into parts it is a batch of
    products, and those torch shares out among the cores. For large matrices oneDNN is up to three
    times as fast as what torch uses for float32: with several vectors always, with one vector
    where the matrix narrows (D > F).
    """
    F, D = weight.shape
    if weight.device.type != "cpu":
        return lambda x: linear(x, weight, bias)
    onednn = ONEDNN and weight.dtype == torch.float32
    parts = _parts(F, D)
    cut = weight.view(parts, F // parts, D).mT  # [P, D, F / P], a view
    start = weight.new_zeros(1) if bias is None else bias.view(parts, 1, F // parts)

    def multiply(x):
        M = x.numel() // D  # B * T vectors
        if onednn and (M > 1 or D > F) and M * F * D >= WORTH_ONEDNN:
            return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
        y = torch.baddbmm(start, x.view(1, M, D).expand(parts, M, D), cut)  # [P, M, F / P]
        return y.transpose(0, 1).reshape(*x.shape[:-1], F)

    return multiply


def _parts(rows: int, columns: int) -> int:
    """Into how many equal parts to cut a matrix, so that every core has one worth its while."""
    wanted = min(torch.get_num_threads(), rows * columns // WORTH_SHARING, MOST_PARTS)
    return next((n for n in range(max(wanted, 1), MOST_PARTS + 1) if rows % n == 0), 1)
