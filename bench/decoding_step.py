"""Where a decoding step goes: matrix products, attention, and the whole of it.

    python -m bench.decoding_step [--rows 1,16,64] [--entries 100]

Every row has as many stored entries. Products are those of all layers and the head, by packed
weights as in sampling and by the layers as they are, which is torch's own product. Attention is
that of all layers. What is left of the whole is norms, gated units and Python.
"""

import argparse
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from bench.duel import model_dir
from burnish.bench.machine import Machine
from burnish.bench.spread import Spread, timed
from burnish.cli.table import table
from burnish.kernels.decode import decode
from burnish.kernels.numbers import follow_torch_threads
from burnish.models.attention import Decoding, Ragged
from burnish.models.fused import joined_linear
from burnish.models.key_values import KeyValueStore
from burnish.models.load import open_causal_lm
from burnish.models.packed import Packed, products_of
from burnish.models.policy import decoder, head_weight, hidden_states
from burnish.models.products import linear


def main() -> None:
    """Print a row of the table for each number of rows."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--rows", default="1,16,40,64", help="of a step; several by commas")
    parser.add_argument("--entries", type=int, default=100, help="stored before the new token")
    parser.add_argument("--repeats", type=int, default=15)
    given = parser.parse_args()
    model = open_causal_lm(model_dir(given), "bfloat16")
    follow_torch_threads()
    head = ["rows", "products (ms)", "by torch", "attention", "whole step", "tokens/s"]
    found = [head]
    with torch.no_grad():
        for rows in (int(part) for part in given.rows.split(",")):
            packed = Packed(decoder(model), head_weight(model), rows)
            step = _step(model, packed, rows, given.entries)
            times = [
                timed(work, given.repeats)
                for work in (
                    _products(model, packed.linear, packed.logits, rows),
                    _products(model, joined_linear, linear, rows),
                    _attention(model, rows, given.entries),
                    step,
                )
            ]
            rate = f"{rows / times[-1].median:.0f}"
            found.append([str(rows), *(_cell(t) for t in times), rate])
    here = Machine.here()
    print(f"{here.cpu}, {here.threads} threads, torch {here.torch}; medians [ranges]")
    print("\n".join(table(found)))


def _products(
    model: nn.Module,
    multiply: Callable[[Tensor, Sequence[nn.Module]], Tensor],
    logits: Callable[[Tensor, Tensor], Tensor],
    rows: int,
) -> Callable[[], object]:
    """All products of a step."""
    weight = head_weight(model)
    lists = [layers for layer in decoder(model).layers for layers in products_of(layer)]  # type: ignore[union-attr]
    sizes = {layers[0].in_features for layers in lists} | {weight.shape[1]}
    given = {size: torch.randn(rows, size).to(weight.dtype) for size in sizes}

    def work() -> None:
        for layers in lists:
            multiply(given[layers[0].in_features], layers)
        logits(given[weight.shape[1]], weight)

    return work


def _attention(model: nn.Module, rows: int, entries: int) -> Callable[[], object]:
    """Of all layers, each with keys and values of its own."""
    config = model.config
    heads, groups = config.num_attention_heads, config.num_key_value_heads  # type: ignore[union-attr]
    size, dtype = decoder(model).layers[0].self_attn.head_dim, head_weight(model).dtype  # type: ignore[union-attr,index]
    layers = [
        [torch.randn(rows, groups, entries + 1, size).to(dtype) for _ in range(2)]
        for _ in range(config.num_hidden_layers)  # type: ignore[union-attr]
    ]
    qkv = torch.randn(rows, heads + 2 * groups, size).to(dtype)
    angles = torch.ones(rows, size).to(dtype), torch.zeros(rows, size).to(dtype)
    positions, out = torch.full((rows,), entries), torch.empty(rows, heads, size, dtype=dtype)

    def work() -> None:
        for keys, values in layers:
            decode(qkv, angles, keys, values, positions, size**-0.5, out)

    return work


def _step(model: nn.Module, packed: Packed, rows: int, entries: int) -> Callable[[], object]:
    """The same token again and again, up to its logits."""
    store = KeyValueStore(slots=rows, capacity=entries + 1)
    before = torch.arange(entries)[None] % 1000
    layout = Ragged.of(
        [(0, [entries])], torch.device("cpu"), store=store, copies=(tuple(range(rows)),)
    )
    hidden_states(model, before, layout, packed)
    layout_now = Decoding(store, torch.full((rows, 1), entries), entries + 1)
    tokens = torch.zeros(rows, 1, dtype=torch.long)

    def work() -> None:
        hidden = hidden_states(model, tokens, layout_now, packed)[:, 0]
        packed.logits(hidden, head_weight(model))

    return work


def _cell(time: Spread) -> str:
    return f"{1e3 * time.median:.1f} [{1e3 * time.low:.1f}, {1e3 * time.high:.1f}]"


if __name__ == "__main__":
    main()
