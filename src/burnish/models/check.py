"""Whether a model can be used here: tried out on a handful of tokens when it is opened.

Burnish takes model definitions as they are and changes two things: how tokens are laid out, and
that the head is applied to some positions only. A model that does not follow the layout, or does
more to its logits than multiply, would train on wrong numbers without anybody noticing.
"""

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from burnish.errors import ModelError
from burnish.models import attention
from burnish.models.attention import Decoding, Ragged
from burnish.models.key_values import KeyValueStore
from burnish.models.policy import context_length, decoder, head_weight, hidden_states
from burnish.models.products import linear

_FOREIGN = (TypeError, ValueError, AttributeError, RuntimeError, LookupError, AssertionError)
"""What a model that was not made for a layout raises when it is called with one."""
EXACT, ROUNDED = 1e-3, 0.3
"""Relative errors that are rounding: of float32, and of bfloat16."""
_STEM, _FIRST, _SECOND, _OTHER = 3, 3, 2, 4
"""Tokens of the prompt, its two continuations, and an unrelated document."""


def check_model(model: nn.Module) -> None:
    """Refuse models that cannot be laid out, or whose logits are not `hidden @ weight.T`.

    Raises:
        ModelError: says which of the two, or that weights are not finite.
    """
    name = type(model).__name__
    try:
        with torch.no_grad():
            gaps = _layout_gaps(model)
            _check_head(model, name)
    except _FOREIGN as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"{name} cannot be called with tokens laid out end to end ({reason}); Burnish supports "
            "decoders of transformers' attention interface, such as Llama, Qwen and Mistral"
        ) from error
    if any(gap != gap for gap in gaps.values()):
        raise ModelError(f"{name}: the weights give numbers that are not finite; are they damaged?")
    # Roundings of bfloat16 add up over layers, and flip the choice of an expert; a leak is near 1.
    rounded = head_weight(model).dtype == torch.bfloat16
    wrong = _wrong(gaps, ROUNDED if rounded else EXACT)
    if wrong and rounded:
        # A reward model's states may magnify them beyond that: without rounding, only a leak stays.
        with torch.no_grad():
            wrong = _wrong(_layout_gaps(copy.deepcopy(model).float()), EXACT)
    if wrong:
        raise ModelError(
            f"{name} does not keep documents apart ({', '.join(wrong)} differs from its own "
            "attention): it has layers other than full attention, which Burnish does not support"
        )


def _wrong(gaps: Mapping[str, float], allowed: float) -> list[str]:
    return [what for what, gap in gaps.items() if gap > allowed]


def _layout_gaps(model: nn.Module) -> dict[str, float]:
    """Relative error of each layout's hidden states against the model's own attention."""
    context_length(model)  # the sampler asks for it
    weight = head_weight(model)
    device, size = weight.device, weight.shape[0]
    total = _STEM + _FIRST + _SECOND + _OTHER
    ids = (torch.arange(total, device=device) * 7919 + 11) % size
    stem, first, second, other = torch.split(ids, [_STEM, _FIRST, _SECOND, _OTHER])
    one, two = torch.cat([stem, first]), torch.cat([stem, second])
    model.set_attn_implementation("eager")  # type: ignore[operator]
    own = [decoder(model)(input_ids=x[None], use_cache=False) for x in (one, two, other)]
    model.set_attn_implementation(attention.NAME)  # type: ignore[operator]
    expected_one, expected_two, expected_other = (x.last_hidden_state[0] for x in own)
    packed = Ragged.of([(0, [len(one)]), (0, [len(other)])], device)
    tree = Ragged.of([(len(stem), [len(first), len(second)])], device)
    return {
        "packing": _gap(
            hidden_states(model, torch.cat([one, other])[None], packed)[0],
            torch.cat([expected_one, expected_other]),
        ),
        "sharing a prompt": _gap(
            hidden_states(model, torch.cat([stem, first, second])[None], tree)[0],
            torch.cat([expected_one, expected_two[_STEM:]]),
        ),
        "decoding": _gap(
            _decoded(model, [one, other]), torch.stack([expected_one[-1], expected_other[-1]])
        ),
    }


def _decoded(model: nn.Module, documents: Sequence[Tensor]) -> Tensor:
    """The last hidden state of each document, its last token fed by itself."""
    lengths = [len(document) - 1 for document in documents]
    store = KeyValueStore(slots=len(documents), capacity=max(lengths) + 1)
    before = torch.cat([document[:-1] for document in documents])
    copies = tuple((slot,) for slot in range(len(documents)))
    trees = [(0, [n]) for n in lengths]
    hidden_states(model, before[None], Ragged.of(trees, before.device, store=store, copies=copies))
    layout = Decoding(store, torch.tensor(lengths, device=before.device)[:, None], max(lengths) + 1)
    return hidden_states(model, torch.stack([d[-1:] for d in documents]), layout)[:, 0]


def _gap(found: Tensor, expected: Tensor) -> float:
    return float((found.float() - expected.float()).norm() / expected.float().norm())


def _check_head(model: nn.Module, name: str) -> None:
    """The head's output is swapped for large numbers, so that a soft cap shows as well."""
    head: nn.Module = model.get_output_embeddings()  # type: ignore[operator]
    weight = head_weight(model)
    given: list[Tensor] = []
    swapped = torch.linspace(-200, 200, weight.shape[0], dtype=weight.dtype, device=weight.device)

    def swap(_: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        given.extend((args[0], output))
        return swapped.expand_as(output)

    token = torch.zeros((1, 1), dtype=torch.long, device=weight.device)
    layout = Ragged.of([(0, [1])], token.device)
    # The model's own way below the head, so that nothing but the head can differ.
    asked = {"layout": layout, "position_ids": layout.position_ids, "use_cache": False}
    hidden = decoder(model)(input_ids=token, **asked).last_hidden_state
    handle = head.register_forward_hook(swap)
    try:
        logits = model(input_ids=token, **asked).logits
    finally:
        handle.remove()
    plain = (
        len(given) == 2
        and given[0].shape == hidden.shape
        and torch.allclose(given[0], hidden, atol=1e-5, rtol=1e-2)
        and dict(head.named_parameters()).keys() == {"weight"}
        and torch.equal(given[1], linear(given[0], weight))
        and torch.equal(logits.to(swapped.dtype).view_as(swapped), swapped)
    )
    if not plain and bool(hidden.isfinite().all()):
        raise ModelError(
            f"{name} changes its logits around the head (bias, scaling or soft-capping), which "
            "Burnish does not support yet"
        )
