"""Speed: ours against transformers' GPT-2 and BERT with the same weights, every ratio in one run.

Last, what it takes to draw pictures of `shapes`, and to read them.

    python benchmarks/speed.py

Both are timed turn by turn, so that what else the machine does touches both; the ratio is that of
the medians. Nothing is skipped: a training step is forward, loss, backward, clipping and AdamW.
"""

import statistics
import sys
import time

import torch
import torch.nn.functional as F
from transformers import BertConfig, BertModel, GenerationConfig, GPT2Config, GPT2LMHeadModel

from mini_models.data.shapes import captioned, oracle
from mini_models.decoding import generate
from mini_models.gpt import gpt_loss
from mini_models.machine.devices import best_device
from mini_models.pretrained.convert import bert_from_hf, gpt_from_hf

DEVICE = best_device()
SIZES = {  # n_layer, n_embd, n_head, context, batch
    "4 × 128, 64 tokens, batch 12": (4, 128, 4, 64, 12),
    "6 × 256, 256 tokens, batch 4": (6, 256, 8, 256, 4),
    "4 × 768, 128 tokens, batch 4": (4, 768, 12, 128, 4),
}
BERT_SIZES = {
    "4 × 128, 64 tokens, batch 32": (4, 128, 4, 64, 32),
    "6 × 384, 64 tokens, batch 16": (6, 384, 12, 64, 16),  # MiniLM's
    "12 × 768, 128 tokens, batch 4": (12, 768, 12, 128, 4),
}


def pair(layers, width, heads, context):
    """transformers' model with random weights, and ours with the same."""
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=1000, n_positions=context, n_embd=width, n_layer=layers, n_head=heads,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=None,
    )  # fmt: skip
    theirs = GPT2LMHeadModel(config).to(DEVICE)
    return gpt_from_hf(theirs).to(DEVICE), theirs


def medians(functions: dict, rounds: int) -> dict[str, float]:
    """The median seconds of each function, called in turn; the first calls do not count."""
    seconds = {name: [] for name in functions}
    for turn in range(rounds + 2):
        for name, function in functions.items():
            begin = time.perf_counter()
            function()
            if DEVICE.type == "cuda":
                torch.cuda.synchronize()
            if turn >= 2:
                seconds[name].append(time.perf_counter() - begin)
    return {name: statistics.median(s) for name, s in seconds.items()}


def stepper(model, loss_of):
    """One training step as a function."""
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, fused=True)

    def step():
        loss_of(model).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def training(layers, width, heads, context, batch, rounds=15) -> float:
    """Seconds of our training step in units of transformers'."""
    ours, theirs = pair(layers, width, heads, context)
    ids = torch.randint(1000, (batch, context + 1), device=DEVICE)
    inputs, targets = ids[:, :-1], ids[:, 1:]

    def their_loss(model):  # the loss that transformers computes shifts targets by itself
        return F.cross_entropy(model(inputs).logits.flatten(0, 1), targets.flatten())

    functions = {
        "ours": stepper(ours.train(), lambda model: gpt_loss(model, (inputs, targets))),
        "theirs": stepper(theirs.train(), their_loss),
    }
    seconds = medians(functions, rounds)
    return seconds["ours"] / seconds["theirs"]


def greedy(layers, width, heads, context, batch, lookup=True, new=48, rounds=5) -> float:
    """Our tokens per second, with the cache, in units of transformers' generate."""
    ours, theirs = pair(layers, width, heads, context)
    ours.eval(), theirs.eval()
    ids = torch.randint(1000, (batch, 8), device=DEVICE)
    how = GenerationConfig(do_sample=False, max_new_tokens=new, pad_token_id=0, use_cache=True)
    functions = {
        "ours": lambda: generate(ours, ids, new, temperature=0, lookup=lookup),
        "theirs": lambda: theirs.generate(ids, generation_config=how),
    }
    if not torch.equal(functions["ours"](), functions["theirs"]()):
        sys.exit("the two wrote different ids: the ratio would mean nothing")
    seconds = medians(functions, rounds)
    return seconds["theirs"] / seconds["ours"]


def bert_pair(layers, width, heads, context, kernel="sdpa"):
    """transformers' BERT with random weights, with no pooler, and ours with the same."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=1000, max_position_embeddings=context, hidden_size=width,
        num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=4 * width,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, attn_implementation=kernel,
    )  # fmt: skip
    theirs = BertModel(config, add_pooling_layer=False).to(DEVICE)
    return bert_from_hf(theirs).to(DEVICE), theirs.eval()


def bert(layers, width, heads, context, batch, padded, rounds=15, kernel="sdpa") -> list[float]:
    """Seconds of our BERT in units of transformers': of a forward pass, and of a training step.

    Args:
        padded: whether texts have from half to all of the tokens, and padding after them.
        kernel: of transformers' attention; its default is torch's fused one, as ours.
    """
    ours, theirs = bert_pair(layers, width, heads, context, kernel)
    ids = torch.randint(1000, (batch, context), device=DEVICE)
    lengths = torch.randint(context // 2, context + 1, (batch, 1), device=DEVICE)
    if not padded:
        lengths[:] = context
    real = torch.arange(context, device=DEVICE) < lengths  # [B, T]
    vectors = {  # their mask is of integers
        ours: lambda: ours(ids, attend=real if padded else None),
        theirs: lambda: theirs(ids, real.long() if padded else None).last_hidden_state,
    }
    with torch.no_grad():
        if not torch.allclose(*(v()[real] for v in vectors.values()), atol=1e-4):
            sys.exit("the two computed different vectors: the ratio would mean nothing")
        forward = medians({m: torch.no_grad()(v) for m, v in vectors.items()}, rounds)

    def loss_of(model):
        return vectors[model]()[real].square().mean()

    whole = medians({m.train(): stepper(m, loss_of) for m in vectors}, rounds)
    return [seconds[ours] / seconds[theirs] for seconds in (forward, whole)]


def pictures(n=10_000) -> dict[str, float]:
    """Seconds to draw n pictures of `shapes`, with their captions, and to read them."""
    images, _ = captioned("train", n)
    functions = {
        "drawn": lambda: captioned("train", n),
        "read": lambda: oracle.read(images),
    }
    return medians(functions, rounds=3)


if __name__ == "__main__":
    print(f"torch {torch.__version__}, {DEVICE}, {torch.get_num_threads()} threads")
    print("ours in units of transformers'; greedy writing gives the same ids, 48 new tokens")
    heads = ("training step,", "greedy, 1 text,", "the same,", "greedy, 32 texts,")
    units = ("seconds", "tokens/s", "no lookup", "tokens/s")
    for row in (heads, units):
        print(" " * 30 + "".join(f"{name:>18}" for name in row))
    for name, (*sizes, batch) in SIZES.items():
        ratios = (
            training(*sizes, batch),
            greedy(*sizes, 1),
            greedy(*sizes, 1, lookup=False),
            greedy(*sizes, 32),
        )
        print(f"{name:30}" + "".join(f"{ratio:18.2f}" for ratio in ratios), flush=True)
    print("training: 1.00 or less is at least as fast; greedy: higher is faster")
    print("BERT's seconds in units of transformers'; with padding, texts fill half of it to all")
    heads = [f"{what}, {how}" for how in ("padded", "full") for what in ("forward", "training")]
    print(" " * 30 + "".join(f"{name:>18}" for name in heads))
    for name, sizes in BERT_SIZES.items():
        ratios = bert(*sizes, padded=True) + bert(*sizes, padded=False)
        print(f"{name:30}" + "".join(f"{ratio:18.2f}" for ratio in ratios), flush=True)
    seconds = pictures()
    said = " and ".join(f"{name} in {s:.1f} s" for name, s in seconds.items())
    print(f"10,000 pictures of shapes, on the CPU: {said}")
