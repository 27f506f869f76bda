"""GPU: how much of a card training uses, on GPT-2 with 124 million weights, ours against
transformers' with the same weights.

    python benchmarks/gpu.py

Both are compiled, multiply in bfloat16, and take turns in one run; times are medians. A step is
forward, loss, backward, clipping and fused AdamW, on as many rows of 1,024 tokens as fit, a power
of two. The model-FLOP utilisation (Chowdhery et al. 2022, arXiv:2204.02311, appendix B) is the
arithmetic that a step needs, three times that of the forward pass, over what the card could do in
that time. Without a GPU nothing is measured.
"""

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from speed import medians
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from mini_models.gpt import GPT2_SMALL, GPTConfig, gpt_loss
from mini_models.pretrained.convert import gpt_from_hf
from mini_models.scaling import forward_flops

# bfloat16 FLOP/s by tensor cores, dense: half of what datasheets print "with sparsity". NVIDIA's
# datasheets of each card; of the 4090 the whitepaper of its architecture, Ada, appendix A.
PEAK = {
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,  # SXM
    "H200": 989e12,
    "A100": 312e12,
    "A10": 125e12,
    "L40S": 362e12,
    "L4": 121e12,
    "RTX 4090": 165e12,
}


def peak(card: str) -> float | None:
    """FLOP/s of a card by its name, or None if it is not in the table."""
    return next((PEAK[key] for key in PEAK if re.search(rf"\b{key}\b", card)), None)


def utilisation(config: GPTConfig, rows: int, seconds: float, peak: float) -> float:
    """The share of the peak that a step of so many rows of full length makes use of."""
    return 3 * forward_flops(config, config.context_length) * rows / seconds / peak


def pair(config: GPTConfig, device: torch.device) -> tuple[nn.Module, nn.Module]:
    """Ours, and transformers' model with the same random weights, in training mode."""
    torch.manual_seed(0)
    theirs = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=config.vocab_size, n_positions=config.context_length,
            n_embd=config.d_model, n_layer=config.n_layers, n_head=config.n_heads,
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0,
        )
    )  # fmt: skip
    return gpt_from_hf(theirs).to(device).train(), theirs.to(device).train()


def their_loss(model: nn.Module, batch) -> torch.Tensor:
    inputs, targets = batch
    logits = model(inputs, use_cache=False).logits
    return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


@dataclass
class Trainer:
    """One model that takes steps on one batch."""

    model: nn.Module
    loss_of: Callable
    compiled: bool

    def __post_init__(self):
        self.device = next(self.model.parameters()).device
        self.optimizer = torch.optim.AdamW(self.model.parameters(), 1e-4, fused=True)
        self.run = torch.compile(self.loss_of, dynamic=False) if self.compiled else self.loss_of

    def step(self, batch) -> torch.Tensor:
        """The loss before the step."""
        with torch.autocast(self.device.type, torch.bfloat16):
            loss = self.run(self.model, batch)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.detach()

    def own_bytes(self) -> int:
        """Weights and averages, which stay between steps."""
        kept = [v for s in self.optimizer.state.values() for v in s.values()]
        return sum(t.nbytes for t in (*self.model.parameters(), *kept))


def batch_of(config: GPTConfig, rows: int, device) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.randint(config.vocab_size, (rows, config.context_length + 1), device=device)
    return ids[:, :-1].contiguous(), ids[:, 1:].contiguous()


def most_rows(fits: Callable[[int], bool], most: int = 1024) -> int:
    """The largest power of two that fits, or 0 if not even one row does."""
    rows = 1
    while rows <= most and fits(rows):
        rows *= 2
    return rows // 2


def fitting(config: GPTConfig, trainers, device) -> Callable[[int], bool]:
    """Whether each can take a step on so many rows while the other waits, uncompiled."""

    def fits(rows: int) -> bool:
        try:
            for trainer in trainers:
                trainer.step(batch_of(config, rows, device))
            return True
        except torch.OutOfMemoryError:
            return False
        finally:
            for trainer in trainers:
                trainer.optimizer.zero_grad()
            torch.cuda.empty_cache()

    return fits


def peak_bytes(trainer: Trainer, batch) -> int:
    """The most that a step has in memory, without what another model keeps there."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    trainer.step(batch)
    return torch.cuda.max_memory_allocated() - before + trainer.own_bytes()


def measure(config: GPTConfig, device, rows: int, compiled: bool, rounds: int = 15) -> dict:
    """Seconds a step and tokens per second of both.

    Exits if their losses differ on the same weights: the comparison would mean nothing.
    """
    trainers = dict(zip(("ours", "theirs"), pair(config, device)))
    losses = {"ours": gpt_loss, "theirs": their_loss}
    trainers = {k: Trainer(model, losses[k], compiled) for k, model in trainers.items()}
    batch = batch_of(config, rows, device)
    first = {name: trainer.step(batch).item() for name, trainer in trainers.items()}
    if abs(first["ours"] - first["theirs"]) > 0.02:
        sys.exit(f"the two do not start with the same loss: {first}")
    found = {}
    if device.type == "cuda":
        found["bytes"] = {name: peak_bytes(trainer, batch) for name, trainer in trainers.items()}
    steps = {name: (lambda t=t: t.step(batch)) for name, t in trainers.items()}
    found["seconds"] = medians(steps, rounds)
    tokens = rows * config.context_length
    found["tokens"] = {name: tokens / seconds for name, seconds in found["seconds"].items()}
    return found | {"losses": first}


def main(config: GPTConfig = GPT2_SMALL) -> None:
    if not torch.cuda.is_available():
        print("there is no GPU here: nothing is measured")
        return
    device, card = torch.device("cuda"), torch.cuda.get_device_name()
    trainers = [Trainer(m, f, False) for m, f in zip(pair(config, device), (gpt_loss, their_loss))]
    rows = most_rows(fitting(config, trainers, device))
    del trainers
    torch.cuda.empty_cache()
    if not rows:
        sys.exit(f"{card} has no room for one row of {config.context_length} tokens of both models")
    found, most = measure(config, device, rows, compiled=True), peak(card)
    print(f"torch {torch.__version__}, {card}, {rows} rows of {config.context_length} tokens")
    print(f"{'':10}{'tokens/s':>12}{'of the peak':>14}{'memory, GB':>14}")
    for name, seconds in found["seconds"].items():
        share = f"{utilisation(config, rows, seconds, most):.1%}" if most else "unknown"
        memory = found["bytes"][name] / 1e9
        print(f"{name:10}{found['tokens'][name]:12,.0f}{share:>14}{memory:14.1f}")
    if most is None:
        print(f"the peak of {card} is not in the table of this script: no share of it is given")
    print(f"ours / theirs, tokens/s: {found['tokens']['ours'] / found['tokens']['theirs']:.2f}")


if __name__ == "__main__":
    main()
