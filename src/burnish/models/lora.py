"""Low-rank adapters (Hu et al. 2021, 2106.09685), by the peft library.

With an adapter the reference model is the same model with the adapter switched off, so a second
copy of the weights is never held.
"""

from dataclasses import dataclass

from torch import nn

from burnish.config import require, suggest


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
        ModelError: a target names no linear layer, or the head or embeddings.
    """
    import warnings

    import torch
    from peft import LoraConfig, get_peft_model
    from transformers.pytorch_utils import Conv1D

    from burnish.errors import ModelError

    linear = [n for n, m in model.named_modules() if isinstance(m, nn.Linear | Conv1D)]
    head = [n for n, m in model.named_modules() if m is model.get_output_embeddings()]  # type: ignore[operator]
    for target in config.targets:
        named = [n for n in linear if n == target or n.endswith(f".{target}")]
        if not named:
            known = sorted({n.rpartition(".")[2] for n in linear} - set(head))
            raise ModelError(f"LoRA: no linear layer is named {target}; {suggest(target, known)}")
        if set(named) & set(head):
            raise ModelError(
                f"LoRA: {target} is the head, which is applied in chunks without adapters; leave "
                "it out of targets"
            )
    settings = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        target_modules=list(config.targets),
        lora_dropout=0.0,
        bias="none",
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        torch.manual_seed(seed % (1 << 63))
        try:
            # peft asks transformers by a name that is being retired.
            warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
            return get_peft_model(model, settings)  # type: ignore[no-any-return]
        except ValueError as error:
            raise ModelError(f"LoRA: {str(error).splitlines()[0]}") from error


def merge_lora(model: nn.Module) -> nn.Module:
    """The plain model with the adapters added into its weights."""
    return model.merge_and_unload()  # type: ignore[operator,no-any-return]
