"""Where a model computes: on the processor, or on a GPU that torch reaches through CUDA."""

import torch

from burnish.errors import ConfigError

CHOICES = ("auto", "cpu", "cuda")


def chosen(choice: str) -> str:
    """`cpu` or `cuda`, in torch's words; `auto` is a GPU where there is one.

    Raises:
        ConfigError: no such choice, or no GPU that torch can use.
    """
    if choice not in CHOICES:
        raise ConfigError(f"device={choice}: choose one of {', '.join(CHOICES)}")
    if choice == "cpu":
        return choice
    if torch.cuda.is_available():
        return "cuda"
    if choice == "cuda":
        why = "this torch was built without CUDA" if torch.version.cuda is None else "none is found"
        raise ConfigError(f"device=cuda: torch can use no GPU ({why}); choose cpu")
    return "cpu"
