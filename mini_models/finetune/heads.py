"""Fine-tuning: one pretrained body, and for each question a small head of its own.

A head turns the body's vectors into logits over what it may answer: classes of the text, labels of
each word, or the positions where an answer begins and ends. The loss is the same for all three.

Shapes   B examples, T positions, D model width, C classes or labels
Source   Devlin et al. 2019, arXiv:1810.04805, section 4 and figure 4
Derived  notebooks/07_finetuning.ipynb
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mini_models.bert import BERT
from mini_models.data.batches import IGNORED, Epochs, draws
from mini_models.finetune.examples import Example
from mini_models.machine.devices import device_of
from mini_models.machine.evaluating import evaluating
from mini_models.train import TrainConfig, train
from mini_models.transformer import init_weights


class SequenceHead(nn.Module):
    """Which class a text belongs to, from the pooled vector of [CLS] (section 4.1)."""

    axis_of_tokens = None  # in the logits of one example

    def __init__(self, d_model: int, n_classes: int):
        super().__init__()
        self.out = nn.Linear(d_model, n_classes)

    def forward(self, body: BERT, hidden: Tensor, attend: Tensor) -> Tensor:
        return self.out(body.pooled(hidden))  # [B, C]


class TokenHead(nn.Module):
    """Which label each token has (section 5.3)."""

    axis_of_tokens = 0  # in the logits of one example

    def __init__(self, d_model: int, n_labels: int):
        super().__init__()
        self.out = nn.Linear(d_model, n_labels)

    def forward(self, body: BERT, hidden: Tensor, attend: Tensor) -> Tensor:
        return self.out(hidden)  # [B, T, C]


class SpanHead(nn.Module):
    """Where an answer begins and where it ends; [CLS] for both if there is none (section 4.2)."""

    axis_of_tokens = 1  # in the logits of one example

    def __init__(self, d_model: int):
        super().__init__()
        self.out = nn.Linear(d_model, 2)  # the vectors S and E

    def forward(self, body: BERT, hidden: Tensor, attend: Tensor) -> Tensor:
        logits = self.out(hidden).transpose(1, 2)  # [B, 2, T]
        return logits.masked_fill(~attend[:, None], torch.finfo(logits.dtype).min)


class FineTuned(nn.Module):
    """A body and a head.

    Args:
        body: a pretrained `BERT`; it is trained in place, so give a copy to keep the original.
        head: a `SequenceHead`, `TokenHead` or `SpanHead`.
    """

    def __init__(self, body: BERT, head: nn.Module):
        super().__init__()
        self.body, self.head = body, head
        init_weights(head, 1)

    def forward(self, ids: Tensor, segment_ids: Tensor, attend: Tensor) -> Tensor:
        """ids, segment ids and attend, each [B, T], to the head's logits: [B, C], [B, T, C] or
        [B, 2, T]."""
        return self.head(self.body, self.body(ids, segment_ids, attend), attend)


def finetune_loss(model: nn.Module, batch) -> Tensor:
    """Mean cross-entropy of all targets, in nats (a scalar).

    Args:
        batch: ids, segment ids, attend, and targets: the class [B], the labels [B, T], or the first
            and last position of the answer [B, 2]; -100 is not counted.
    """
    *inputs, targets = batch
    logits = model(*inputs)
    return F.cross_entropy(logits.flatten(0, -2).float(), targets.flatten())


class ExampleBatches(Epochs):
    """Examples in random order, those of a batch of similar length; a pure function of the step.

    Args:
        examples: a list of `Example`.
        batch_size: B.
        seed: of the order; None: all examples once, shortest first, for predicting.
    Raises: ValueError if there is no example.
    """

    GROUP = 16  # batches that are sorted by length together

    def __init__(self, examples: list[Example], batch_size: int, seed: int | None = 0):
        if not examples:
            raise ValueError("there is no example: give at least one")
        super().__init__(len(examples), batch_size, seed)
        self.examples = examples

    def __len__(self) -> int:
        """Batches in an epoch; the last may be smaller."""
        return -(-self.n // self.batch_size)

    def drawn(self, epoch: int) -> list[list[int]]:
        """The examples of each batch of an epoch."""
        n, B = self.n, self.batch_size
        if self.seed is None:
            order = sorted(range(n), key=self._length)
            return [order[i : i + B] for i in range(0, n, B)]
        draw = draws(self.seed, epoch)
        order = torch.randperm(n, generator=draw).tolist()
        groups = [order[i : i + B * self.GROUP] for i in range(0, n, B * self.GROUP)]
        order = [i for group in groups for i in sorted(group, key=self._length)]
        batches = [order[i : i + B] for i in range(0, n, B)]
        return [batches[i] for i in torch.randperm(len(batches), generator=draw)]

    def _length(self, i: int) -> int:
        return len(self.examples[i].ids)

    def __getitem__(self, step: int) -> tuple[Tensor, ...]:
        """ids, segment ids, attend and targets of one step, padded to its longest example."""
        chosen = self.order(step // len(self))[step % len(self)]
        return collate([self.examples[i] for i in chosen])


def collate(examples: list[Example]) -> tuple[Tensor, ...]:
    """Examples as rows: ids, segment ids and attend, [B, T] for the longest; and the targets."""
    T = max(len(e.ids) for e in examples)
    ids, segments = torch.zeros(2, len(examples), T, dtype=torch.int64)
    attend = torch.zeros(len(examples), T, dtype=torch.bool)
    for row, e in enumerate(examples):
        n = len(e.ids)
        ids[row, :n], segments[row, :n] = torch.tensor(e.ids), torch.tensor(e.segment_ids)
        attend[row, :n] = True
    targets = [torch.tensor(e.target) for e in examples]
    if all(t.shape == targets[0].shape for t in targets):
        return ids, segments, attend, torch.stack(targets)
    padded = nn.utils.rnn.pad_sequence(targets, batch_first=True, padding_value=IGNORED)
    return ids, segments, attend, padded


def finetune(
    model: FineTuned, examples: list[Example], config: TrainConfig, batch_size: int = 32,
    frozen: bool = False, **options,
) -> list[float]:  # fmt: skip
    """Train the head on examples of any of the three kinds, and with it the body.

    Args:
        model: trained in place.
        examples: from `examples.of_texts`, `of_words` or `of_questions`.
        config: a `TrainConfig`; Devlin et al. 2019, appendix A.3, advise 2 to 4 epochs at a rate of
            2e-5 to 5e-5.
        frozen: leave the body as it is.
        options: of `train`: out, resume, on_step.
    Returns: the loss of every step, nats.
    """
    model.body.requires_grad_(not frozen)
    batches = ExampleBatches(examples, batch_size, config.seed)
    return train(model, batches, finetune_loss, config, **options)


@torch.no_grad()
def predict(model: FineTuned, examples: list[Example], batch_size: int = 64) -> list[Tensor]:
    """The logits of each example, float32 on the CPU, without those of padding.

    Returns: for each example [C], [T, C] or [2, T], where T is its own length.
    """
    batches, found = ExampleBatches(examples, batch_size, None), [None] * len(examples)
    axis, device = model.head.axis_of_tokens, device_of(model)
    with evaluating(model):
        for rows in batches.order(0):
            *inputs, _ = (t.to(device) for t in collate([examples[i] for i in rows]))
            for i, logits in zip(rows, model(*inputs).float().cpu()):
                n = len(examples[i].ids)
                found[i] = logits if axis is None else logits.narrow(axis, 0, n)
    return found
