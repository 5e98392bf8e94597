"""TRL's trainers without models, data or devices: only their methods, and the attributes they read.

TRL has its losses inside trainers, which take a model directory and a data set to be made.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from trl.trainer.grpo_trainer import GRPOTrainer

BUDGET = 17
"""TRL's max_completion_length."""


def bare(trainer: type, **attributes: Any) -> Any:
    """One process, in training, with `attributes` in place of what `__init__` would have made."""
    made = object.__new__(trainer)
    model = nn.Module()
    model.is_gradient_checkpointing = False
    vars(made).update(
        accelerator=SimpleNamespace(
            device=torch.device("cpu"),
            num_processes=1,
            process_index=0,
            is_main_process=True,
            parallelism_config=None,
            gather=lambda tensor: tensor,
            gather_for_metrics=lambda tensor: tensor,
            reduce=lambda tensor, reduction: tensor,
        ),
        model=model,
        aux_loss_enabled=False,
        _metrics={"train": defaultdict(list)},
        _total_train_tokens=0,
        _tp_size=1,
    )
    vars(made).update(attributes)
    return made


def grpo_trainer(**attributes: Any) -> Any:
    """TRL's GRPOTrainer with no KL, no entropy bonus, and one micro-batch a step."""
    args = {
        "delta": None,
        "use_bias_correction_kl": False,
        "steps_per_generation": 1,
        "gradient_accumulation_steps": 1,
        "gradient_checkpointing_kwargs": None,
        "per_device_train_batch_size": 8,
    }
    args |= {name: attributes.pop(name) for name in tuple(attributes) if name in args}
    settings = {
        "loss_type": "grpo",
        "importance_sampling_level": "token",
        "epsilon_low": 0.2,
        "epsilon_high": 0.2,
        "beta": 0.0,
        "max_completion_length": BUDGET,
        "top_entropy_quantile": 1.0,
        "off_policy_mask_threshold": None,
        "use_vllm": False,
        "vllm_importance_sampling_correction": True,
        "current_gradient_accumulation_steps": args["steps_per_generation"],
        "_entropy_bonus_enabled": False,
        "use_adaptive_entropy": False,
        "num_iterations": 1,
        "multi_objective_aggregation": "sum_then_normalize",
        "scale_rewards": "group",
        "environment_factories": None,
        "environments": None,
        "tools": None,
    }
    return bare(GRPOTrainer, args=SimpleNamespace(**args), **{**settings, **attributes})


def grpo_loss(trainer: Any, batch: dict[str, Tensor], logprobs: Tensor, **inputs: Any) -> Tensor:
    """TRL's loss of a (micro-)batch of polgrad's; `completion` also covers what a tool wrote,
    `own` only what the policy did."""
    entropy = batch.get("entropy", torch.zeros_like(logprobs))
    trainer._get_per_token_logps_and_entropies = lambda *_, **__: (logprobs, entropy, None)
    completion = batch["completion"].long()
    given = {
        "prompt_ids": torch.zeros(len(completion), 1, dtype=torch.int64),
        "prompt_mask": torch.ones(len(completion), 1, dtype=torch.int64),
        "completion_ids": torch.zeros_like(completion),
        "completion_mask": completion,
        "tool_mask": batch["own"].long(),
        "advantages": batch["advantages"],
        "old_per_token_logps": batch["old_logprobs"],
        "ref_per_token_logps": batch["ref_logprobs"],
        "num_items_in_batch": batch["response_mask"].sum(),
    }
    return trainer._compute_loss(None, given | inputs)


def value_and_gradients(loss: Tensor, parameters: Iterable[Tensor]) -> list[Tensor]:
    """The loss, and its gradient in each of the parameters."""
    return [loss.detach(), *torch.autograd.grad(loss, list(parameters))]


def both(
    one: Callable[..., Tensor], other: Callable[..., Tensor], batch: dict[str, Tensor]
) -> list[list[Tensor]]:
    """Value and gradient of two functions of a batch and of its log-probabilities."""
    out = []
    for function in (one, other):
        logprobs = batch["logprobs"].clone().requires_grad_()
        out.append(value_and_gradients(function(batch, logprobs), [logprobs]))
    return out


def assert_same(found: list[Tensor], expected: list[Tensor], rtol: float = 1e-9) -> None:
    """Equal but for rounding."""
    torch.testing.assert_close(found, expected, rtol=rtol, atol=rtol * 1e-4)
