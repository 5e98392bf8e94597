"""A GPU that is not there: tensors that say `cuda:0` and are computed by the processor.

It refuses what a real one refuses (operands on two devices, numpy arrays of its memory; indices of
the processor too, which a real one would copy without a word), and counts how often the host waits
for it. So whole stages can be run "on the GPU" and their numbers compared. What it cannot show is
what only hardware has: speed, kernels' rounding, streams and graphs.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

import tests.plain_varlen  # noqa: F401 (its kernels)
from burnish.engine import local_sampler

DEVICE = "cuda:0"
aten = torch.ops.aten
WAITING = {aten._local_scalar_dense.default, aten.equal.default, aten.nonzero.default}
_waits: Counter[str] = Counter()


class _OnGpu(Tensor):
    """A tensor of the device; `inner` is where its numbers really are."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> Self:
        made: Self = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device="cpu",
            requires_grad=inner.requires_grad,
            dispatch_device=True,
        )
        made.inner = inner
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return torch.device(DEVICE)

    def tolist(self) -> list[Any]:
        _waits["tolist"] += 1
        return self.inner.tolist()

    def numpy(self, **_: object) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def data_ptr(self) -> int:
        return self.inner.data_ptr()

    def untyped_storage(self) -> torch.UntypedStorage:
        return self.inner.untyped_storage()

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["inner"], None  # so that `Module.to` sets parameters anew

    @staticmethod
    def __tensor_unflatten__(inner: Mapping[str, Tensor], *_: object) -> "_OnGpu":
        return _OnGpu(inner["inner"])

    @classmethod
    def __torch_function__(
        cls, func: Any, types: object, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Torch's own code takes the tensor for the processor's: what is asked of a device by name
        is caught here, so that below "cpu" can only mean where the operands are."""
        kwargs = kwargs or {}
        with torch._C.DisableTorchFunctionSubclass():
            if func is Tensor.new_tensor:
                return torch.tensor(args[1], dtype=args[0].dtype, device=DEVICE)
            if func is Tensor.cpu or (func is Tensor.to and _names_the_processor(args[1:], kwargs)):
                assert len(args) + len(kwargs) < 3, "a move that also converts"
                return _ToProcessor.apply(args[0])  # type: ignore[no-untyped-call]
            return func(*args, **kwargs)

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: object, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        return _run(func, args, kwargs or {})


class _ToProcessor(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: _OnGpu) -> Tensor:
        _waits["to the processor"] += 1
        return x.inner.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return _OnGpu(grads[0])


def _names_the_processor(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    return any(
        isinstance(x, str | torch.device) and torch.device(x).type == "cpu"
        for x in (*args, *kwargs.values())
    )


class _Mode(TorchDispatchMode):
    def __torch_dispatch__(
        self, func: Any, types: object, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    ours = [isinstance(x, _OnGpu) for x in tensors]
    given = kwargs.get("device")
    target = any(ours) or (given is not None and torch.device(given).type == "cuda")
    # Autograd makes zeros for gradients that nobody gave, where it takes their tensor to be.
    target |= func is aten.zeros.default and torch._C._current_graph_task_id() >= 0
    if func is aten.copy_.default:
        target = ours[0]
    elif any(ours):
        _refuse_mixtures(func, tensors)
    if any(ours) and (func in WAITING or not target):
        _waits[str(func)] += 1
    plain = {k: _inner(v) for k, v in kwargs.items() if k != "pin_memory"}
    if given is not None:
        plain["device"] = torch.device("cpu")
    out = func(*tree_map(_inner, args), **plain)
    if not target or func in WAITING - {aten.nonzero.default}:
        return args[0] if func is aten.copy_.default else out
    return return_and_correct_aliasing(func, args, kwargs, tree_map(_outer, out))


def _refuse_mixtures(func: Any, tensors: Sequence[Tensor]) -> None:
    there = {isinstance(x, _OnGpu) for x in tensors if x.dim()}
    if len(there) > 1:
        shapes = [(str(x.device), tuple(x.shape)) for x in tensors]
        raise RuntimeError(f"Expected all tensors to be on the same device: {func}, {shapes}")


def _inner(x: Any) -> Any:
    return x.inner if isinstance(x, _OnGpu) else x


def _outer(x: Any) -> Any:
    return _OnGpu(x) if type(x) is Tensor else x


def by_calling() -> Callable[[Callable[[], None]], Callable[[], None]]:
    """In place of `cuda_capture`: the work is its own graph."""
    return lambda work: work


@contextmanager
def pretend_gpu() -> Iterator[Counter[str]]:
    """`cuda:0` is there; what is yielded counts the values that the host waits for."""
    _waits.clear()
    with pytest.MonkeyPatch.context() as patch, _Mode():
        patch.setattr(torch.cuda, "_lazy_init", lambda: None)
        patch.setattr(torch.cuda, "is_available", lambda: True)
        patch.setattr(torch.cuda, "get_device_capability", lambda device=None: (9, 0))
        patch.setattr(local_sampler, "cuda_capture", by_calling)
        # torch.tensor(..., device=...) then goes by way of the processor, where the mode sees it.
        before = torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(True)
        try:
            yield _waits
        finally:
            torch._C._set_only_lift_cpu_tensors(before)
