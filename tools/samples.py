"""Make what the front page shows: texts and a figure by the shipped models themselves.

python tools/samples.py        writes book/samples/
"""

from pathlib import Path

import torch

from mini_models import decoding, viz, zoo

OUT = Path(__file__).resolve().parent.parent / "book" / "samples"


def write(model, tokenizer, prompt: str, n: int, temperature: float, seed: int) -> str:
    """The prompt and n more tokens."""
    draws = torch.Generator().manual_seed(seed)
    ids = torch.tensor([tokenizer.encode(prompt)])
    ids = decoding.generate(model, ids, n, temperature=temperature, generator=draws)
    return tokenizer.decode(ids[0].tolist())


def shakespeare() -> str:
    model, tokenizer = zoo.load("gpt-shakespeare")
    text = write(model, tokenizer, "JULIET:\n", 220, 0.7, seed=1)
    return text[: text.rindex("\n")] + "\n"  # whole lines only


def quatrains() -> str:
    model, tokenizer = zoo.load("gpt-tang")
    new = model.config.context_length - 1
    texts = [write(model, tokenizer, "\n", new, 0.8, seed=s) for s in range(4)]
    return "\n".join(text.strip().split("\n")[0] for text in texts) + "\n"


def attention_figure(path: Path) -> None:
    """Where one head of the trained model looks when it reads a line."""
    model, tokenizer = zoo.load("gpt-shakespeare")
    line = "To be, or not to be: that is"
    x = model.tokens(torch.tensor([tokenizer.encode(line)]))
    maps = []
    for block in model.transformer.blocks:
        maps.append(block.attention.weights(block.norm1(x), "causal")[0])
        x = block(x, "causal")
    maps = torch.cat(maps)  # [L * H, T, T]
    # the head most sure of one character that stands at least two places back, the first aside
    places = torch.arange(len(line))
    back = (places[:, None] - places >= 2) & (places > 0)
    sure = (maps * back).amax(-1).mean(-1)
    ax = viz.attention_map(maps[sure.argmax()], list(line.replace(" ", "␣")), numbers=False)
    ax.figure.savefig(path, dpi=110)


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    (OUT / "shakespeare.txt").write_text(shakespeare(), encoding="utf-8")
    (OUT / "tang.txt").write_text(quatrains(), encoding="utf-8")
    attention_figure(OUT / "attention.png")
    print(f"wrote {OUT}")
