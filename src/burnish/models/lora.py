"""Low-rank adapters (Hu et al. 2021, 2106.09685), by the peft library.

With an adapter the reference model is the same model with the adapter switched off, so a second
copy of the weights is never held.
"""

from dataclasses import dataclass

from torch import nn

from burnish.config import require


@dataclass(frozen=True, kw_only=True, slots=True)
class LoRA:
    """W + (alpha / rank) B A on the chosen linear layers; B starts at zero."""

    rank: int = 16
    """Raising it adds capacity and cost."""
    alpha: float = 32.0
    """The update is scaled by alpha / rank."""
    targets: tuple[str, ...] = (
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    )
    """Names of the linear layers that get an adapter."""

    def __post_init__(self) -> None:
        require(self.rank >= 1, "rank must be at least 1")
        require(self.alpha > 0, "alpha must be above 0")
        require(bool(self.targets), "targets must name at least one layer")


def add_lora(model: nn.Module, config: LoRA, seed: int) -> nn.Module:
    """The model with fresh adapters, only they trainable; drawn from `seed`.

    Raises:
        ModelError: no layer has one of the target names.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    from burnish.errors import ModelError

    settings = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        target_modules=list(config.targets),
        lora_dropout=0.0,
        bias="none",
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed % (1 << 63))
        try:
            return get_peft_model(model, settings)  # type: ignore[no-any-return]
        except ValueError as error:
            raise ModelError(f"LoRA: {error}") from error


def merge_lora(model: nn.Module) -> nn.Module:
    """The plain model with the adapters added into its weights."""
    return model.merge_and_unload()  # type: ignore[operator,no-any-return]
