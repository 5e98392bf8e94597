"""Smaller models from larger ones: the first layers only, below the model's own last norm."""

from torch import nn

from burnish.errors import ConfigError
from burnish.models.policy import decoder


def keep_layers(model: nn.Module, num: int) -> None:
    """Leave only the first `num` layers of a model, in place; its config says so when it is saved.

    Raises:
        ConfigError: the model has fewer.
    """
    stack, config = decoder(model), model.config
    layers = stack.layers
    if not 1 <= num <= len(layers):  # type: ignore[arg-type]
        raise ConfigError(f"num_layers={num}: the model has {len(layers)}")  # type: ignore[arg-type]
    stack.layers = layers[:num]  # type: ignore[index]
    config.num_hidden_layers = num  # type: ignore[union-attr]
    kinds = config.to_dict().get("layer_types")  # type: ignore[union-attr,operator]
    if kinds is not None:
        config.layer_types = kinds[:num]  # type: ignore[union-attr]
