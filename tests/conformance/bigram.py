"""A language model in float64 that Burnish and TRL can both run, and preferences to train it on.

A token's probability depends on the token before it: embedding and head, with nothing in between.
"""

from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from burnish.models.policy import Tree, summed_logprobs

NUM_TOKENS, SIZE = 11, 5


class Bigram(nn.Module):
    """Called as TRL calls a model; taken apart as Burnish does it."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        draws = torch.randn(2, NUM_TOKENS, SIZE, generator=generator, dtype=torch.float64)
        self.embedding = nn.Parameter(draws[0])
        self.output = nn.Linear(SIZE, NUM_TOKENS, bias=False, dtype=torch.float64)
        self.output.weight = nn.Parameter(draws[1])

    def near(self, gap: float, seed: int) -> "Bigram":
        """Another one, about `gap` away in its weights."""
        other, away = Bigram(seed), Bigram(seed)
        with torch.no_grad():
            for mine, its, noise in zip(
                self.parameters(), other.parameters(), away.parameters(), strict=True
            ):
                its.copy_(mine + gap * noise)
        return other

    def forward(
        self, input_ids: Tensor, *, labels: Tensor | None = None, **_: object
    ) -> SimpleNamespace:
        """Logits; of labels also what TRL's fused head returns: zero where the label is -100."""
        logits = self.output(self.embedding[input_ids])
        if labels is None:
            return SimpleNamespace(logits=logits)
        known = labels[:, 1:] != -100
        every = logits[:, :-1].log_softmax(-1)
        targets = torch.where(known, labels[:, 1:], 0)
        logprobs = every.gather(-1, targets[..., None])[..., 0]
        return SimpleNamespace(
            log_probs=torch.where(known, logprobs, 0.0),
            entropy=torch.where(known, -(every.exp() * every).sum(-1), 0.0),
            mean_logits=logits[:, :-1].mean(-1),
            is_top1=known & (every.argmax(-1) == targets),
            label_mask=known,
        )

    def get_decoder(self):
        return lambda input_ids, **_: SimpleNamespace(last_hidden_state=self.embedding[input_ids])

    def get_output_embeddings(self) -> nn.Linear:
        return self.output


@dataclass(frozen=True)
class Pairs:
    """Prompts with a better and a worse answer, of all lengths, as token ids."""

    prompts: list[list[int]]
    chosen: list[list[int]]
    rejected: list[list[int]]

    @classmethod
    def random(cls, seed: int, num: int = 5, longest: int = 7) -> "Pairs":
        generator = torch.Generator().manual_seed(seed)

        def tokens() -> list[int]:
            length = int(torch.randint(1, longest + 1, (), generator=generator))
            return torch.randint(NUM_TOKENS, (length,), generator=generator).tolist()

        return cls(*([tokens() for _ in range(num)] for _ in range(3)))

    def trees(self) -> list[Tree]:
        """As Burnish reads them."""
        every = zip(self.prompts, self.chosen, self.rejected, strict=True)
        return [Tree.prompt(prompt, [chosen, rejected]) for prompt, chosen, rejected in every]

    def lengths(self) -> tuple[Tensor, Tensor]:
        """Tokens of the chosen and of the rejected answers."""
        return tuple(torch.tensor([len(a) for a in side]) for side in (self.chosen, self.rejected))

    def sums(self, model: Bigram) -> tuple[Tensor, Tensor]:
        """Burnish's summed log-probabilities of the chosen and of the rejected answers."""
        both = summed_logprobs(model, self.trees())
        return both[0::2], both[1::2]


def padded(prompts: list[list[int]], answers: list[list[int]]) -> dict[str, Tensor]:
    """As TRL reads them: one row each, padded on the right; the mask is of the answers."""
    rows = [p + a for p, a in zip(prompts, answers, strict=True)]
    width = max(map(len, rows))
    ids = torch.zeros(len(rows), width, dtype=torch.int64)
    attention, completion = torch.zeros_like(ids), torch.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        attention[i, : len(row)] = 1
        completion[i, len(prompts[i]) : len(row)] = 1
    return {"input_ids": ids, "attention_mask": attention, "completion_mask": completion}
