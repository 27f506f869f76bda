"""Speculative decoding: guess several tokens cheaply, check them all in one reading.

A model reads many tokens at once in little more time than one. So a guesser writes a few ahead,
the model reads them together, and those that it would have drawn itself stay. What is written has
the model's own distribution, whatever the guesser.

Shapes   B batch, n guesses, V vocabulary size
Source   Leviathan et al. 2023, arXiv:2211.17192, algorithm 1; Chen et al. 2023, arXiv:2302.01318
Derived  notebooks/09_decoding.ipynb
"""

import torch
from torch import Tensor


def speculate(read, guess, text: Tensor, rules, generator=None) -> Tensor:
    """Fill the text [B, total] behind the prompts, several tokens a reading.

    Rows go on together: as many tokens are kept as the row keeps whose guesses are refused first.
    A kept token never depends on the guesses behind it, so that costs time, not exactness.

    Args:
        read: `decoding.Reader` of the model.
        guess: an object with `propose(text, room)`, which gives guesses [B, n], n at most room,
            and the probabilities [B, n, V] that they were drawn with (only temperature 0 does
            without them); and `learn(n, kept, end)`, which is told how many of the n stayed, and
            how long the text now is.
        rules: `rules.Rules`.
    Returns: ids [B, total], or fewer columns if all rows have stopped.
    """
    end, total = rules.start, text.shape[1]
    while end < total and not rules.all_finished(text[:, :end]):
        guesses, chances = guess.propose(text[:, :end], total - end - 1)
        n = guesses.shape[1]
        text[:, end : end + n] = guesses
        logits = read(text[:, : end + n], n + 1)  # [B, n + 1, V]
        if n == 0:
            new = rules.choose(logits[:, 0], text[:, :end], generator)[:, None]
        else:
            scores = _scores(rules, logits, text, end)  # [B, n + 1, V]
            if rules.temperature == 0:
                new = _agreed(scores.argmax(dim=-1), guesses)
            else:
                new = _accepted(rules.probabilities(scores), guesses, chances, generator)
        text[:, end : end + new.shape[1]] = new
        end += new.shape[1]
        read.rewind(end - 1)  # the newest token has not been read as what it is now
        guess.learn(n, new.shape[1] - 1, end)
    return text[:, :end]


def _scores(rules, logits: Tensor, text: Tensor, end: int) -> Tensor:
    """`Rules.scores` at each of n + 1 positions, the first of which follows `end` tokens."""
    if rules.blind:
        return logits
    positions = range(logits.shape[1])
    return torch.stack([rules.scores(logits[:, i], text[:, : end + i]) for i in positions], dim=1)


def _agreed(best: Tensor, guesses: Tensor) -> Tensor:
    """The model's own first choices [B, n + 1], up to the first that some guess [B, n] missed."""
    right = (best[:, :-1] == guesses).all(dim=0).cumprod(dim=0)  # [n]: 1 until one is wrong
    return best[:, : int(right.sum()) + 1]


def _accepted(wanted: Tensor, guesses: Tensor, chances: Tensor, generator) -> Tensor:
    """Guesses that stay, and one token more: [B, up to n + 1].

    A guess x stays with probability min(1, p(x) / q(x)). Where it does not, a token is drawn from
    max(0, p - q), normalised: just what p has and the guesses that stay do not bring.

    Args:
        wanted: the model's probabilities p, [B, n + 1, V].
        guesses: [B, n], drawn from chances q, [B, n, V].
    """
    B, n = guesses.shape
    p, q = (t.gather(-1, guesses[..., None])[..., 0] for t in (wanted[:, :n], chances))  # [B, n]
    stays = torch.rand(B, n, device=p.device, generator=generator) * q < p
    kept = int(stays.all(dim=0).cumprod(dim=0).sum())  # as many as stay in every row
    if kept == n:  # one more, from what the model said behind the last guess
        last = wanted[:, n].multinomial(1, generator=generator)
    else:
        stay = stays[:, kept, None]  # [B, 1]: rows that keep this guess too
        rest = (wanted[:, kept] - chances[:, kept]).clamp(min=0)
        rest = torch.where(stay, wanted[:, kept], rest)  # no row may be all zeros
        drawn = rest.multinomial(1, generator=generator)
        last = torch.where(stay, guesses[:, kept, None], drawn)
    return torch.cat([guesses[:, :kept], last], dim=1)


class DraftModel:
    """Guesses drawn from a smaller model, under the same rules.

    Args:
        read: `decoding.Reader` of the smaller model.
        n: how many tokens to guess at a time.
    """

    def __init__(self, read, rules, n: int, generator=None):
        self.read, self.rules, self.n, self.generator = read, rules, n, generator

    def propose(self, text: Tensor, room: int) -> tuple[Tensor, Tensor | None]:
        chances, start = [], text.shape[1]
        for _ in range(min(self.n, room)):
            scores = self.rules.scores(self.read(text)[:, -1], text)
            chances.append(self.rules.probabilities(scores))
            token = chances[-1].multinomial(1, generator=self.generator)
            text = torch.cat([text, token], dim=1)
        return text[:, start:], torch.stack(chances, dim=1) if chances else None

    def learn(self, n: int, kept: int, end: int) -> None:
        self.read.rewind(end - 1)


class Lookup:
    """Guesses that follow the latest tokens where they last stood in the text itself.

    For one text that is written greedily. It guesses twice as far after each success, and after a
    failure begins anew.
    """

    MATCH, MOST = 3, 16  # tokens that must be the same; guesses at most

    def __init__(self):
        self.next, self.known, self.n = {}, 0, 2  # tokens -> the place behind them

    def propose(self, text: Tensor, room: int) -> tuple[Tensor, None]:
        ids = text[0].tolist()
        for end in range(max(self.known, self.MATCH), len(ids)):  # all but what ends the text
            self.next[tuple(ids[end - self.MATCH : end])] = end
        self.known = len(ids)
        place = self.next.get(tuple(ids[-self.MATCH :]))
        if place is None:
            return text[:, :0], None
        start = len(ids)
        for i in range(min(self.n, room)):
            ids.append(ids[place + i])  # beyond the end, what has been guessed repeats
        return text.new_tensor([ids[start:]]), None

    def learn(self, n: int, kept: int, end: int) -> None:
        if n:
            self.n = min(2 * self.n, self.MOST) if kept == n else 2
