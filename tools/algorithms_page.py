"""Write docs/algorithms.md: every algorithm's equations, source and knobs, from docstrings."""

import importlib
import inspect
import sys
from pathlib import Path
from typing import Union, get_args, get_origin, get_type_hints

from burnish.algos.distill import Distillation
from burnish.config import snake
from burnish.stages.prefer import Prefer
from burnish.stages.rl import RL
from tools.stage_table import table

PAGE = Path(__file__).parents[1] / "docs" / "algorithms.md"
HEAD = """\
# Algorithms

Written by `python -m tools.algorithms_page` from the docstrings; do not edit. One paper, one file:
the module named under each heading holds the whole of it. In a recipe an algorithm is named, with
its knobs where they differ from the defaults:

```yaml
  grpo:
    stage: rl
    algorithm: {dapo: {clip_high: 0.28}}
```

From Python it is a frozen dataclass, in a recipe as above or in a loop of your own. With `[B, T]`
tensors of completions (`logprobs` of the sampled tokens, a `mask` of which are the policy's) and
`[B]` of their `scores` and the `group` they were sampled in:

```python
batch = RolloutBatch.of_completions(
    mask=mask, scores=scores, group=group, sampler_logprobs=logprobs.detach()
)
algorithm = DAPO(clip_high=0.28)
step = algorithm.weights(algorithm.advantages(batch))
loss = algorithm.loss(step, PolicyOutputs(logprobs=logprobs)).total
```

What an algorithm needs besides, such as `old_logprobs`, `ref_logprobs` or `values`, its `needs()`
names: give them with `dataclasses.replace(batch, ...)`. With `[N]` summed log-probabilities of
pairs (and, for RPO, the `margin` of each):

```python
pairs = PairLogprobs(
    policy_chosen=chosen,
    policy_rejected=rejected,
    len_chosen=lengths,
    len_rejected=lengths,
    ref_chosen=ref_chosen,
    ref_rejected=ref_rejected,
)
loss = DPO(beta=0.1).losses(pairs).mean()
```

`burnish.conformance` has the same numbers as functions.
"""

LEARNT = ("bradley_terry", "outcome_reward", "process_reward", "attribute_reward", "sft")
"""Modules of losses that no stage offers a choice of."""


def page() -> str:
    """The whole page."""
    parts = [HEAD, "# Policy gradients (stage `rl`)\n"]
    parts += [_entry(cls) for cls in choices(RL)]
    parts.append("# Where a KL penalty sits\n")
    parts.append(_text("burnish.algos.kl"))
    parts.append("# Direct alignment (stage `prefer`)\n")
    parts += [_entry(cls) for cls in choices(Prefer)]
    parts += ["# Distillation (stage `distill`)\n", _entry(Distillation)]
    parts.append("# Reward models and supervised fine-tuning\n")
    parts += [_text(f"burnish.algos.{name}") for name in LEARNT]
    return "\n".join(parts)


def choices(stage: type) -> list[type]:
    """What a stage's `algorithm` may be."""
    hint = get_type_hints(stage)["algorithm"]
    assert get_origin(hint) in (Union, type(int | str))
    return list(get_args(hint))


def _entry(cls: type) -> str:
    return f"## {snake(cls.__name__)}\n\n{_text(cls.__module__)}\n{table(cls)}"


def _text(module: str) -> str:
    """A module's docstring as Markdown: indented equations stay code."""
    doc = inspect.getdoc(importlib.import_module(module)) or ""
    return f"`{module}`\n\n{doc}\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")
