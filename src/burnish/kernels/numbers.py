"""Numbers inside compiled loops: bfloat16 as its bits, and an exponential that vectorises.

numba knows no bfloat16, so such tensors arrive as `uint16` and are widened by a shift. Compiled
code is kept on disk beside the sources; numba looks at the file of a kernel only, so whoever
changes *this* file, `emit.py`, `heads.py` or what `decoder_layer.py` calls has to delete
`src/burnish/kernels/__pycache__`.
"""

from functools import cache
from typing import Any

import numpy as np
import torch
from numba import njit, set_num_threads, types
from numba.core.config import NUMBA_NUM_THREADS
from numba.extending import intrinsic, overload
from numba.np.ufunc.parallel import _launch_threads
from torch import Tensor

from burnish.kernels.emit import prefetch_into_l2

FAST = {"reassoc", "contract"}
"""What loops may assume so that they vectorise; infinities and NaN keep their meaning.

Not more: numba optimises a loop once before it runs and again before it goes to disk, and with
"nsz" or "arcp" the second pass rewrites sums and quotients. Then a process that compiles would
round otherwise than one that loads, and a resumed run otherwise than one that was never stopped.
"""


def supports(*tensors: Tensor) -> bool:
    """Whether these loops can work on the tensors: on the CPU, in bfloat16 or float32."""
    return all(
        t.device.type == "cpu" and t.dtype in (torch.bfloat16, torch.float32) for t in tensors
    )


@cache
def torch_multiplies_bfloat16() -> bool:
    """Whether torch has products of bfloat16 for this processor: its fall-back on others is ten
    times slower than its products of float32."""
    available = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return available and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def array(tensor: Tensor) -> Any:
    """The same memory for a compiled loop: bfloat16 as uint16. It must be contiguous."""
    assert tensor.is_contiguous()
    tensor = tensor.detach()
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


@cache
def _launch() -> None:
    """Start numba's threads. That sets OpenMP's number for torch too, where both share a library:
    torch gets its own back, or processes that were given one thread each would fight for two."""
    threads = torch.get_num_threads()
    _launch_threads()
    torch.set_num_threads(threads)


def follow_torch_threads() -> None:
    """Let the loops use as many threads as torch does. Call it before any of them.

    The first call starts the threads: at import it would be too early, because a process that is
    forked after that cannot have threads of its own.
    """
    _launch()
    set_num_threads(min(torch.get_num_threads(), NUMBA_NUM_THREADS))


@intrinsic
def prefetch(context: Any, numbers: Any, index: Any) -> Any:
    """Ask memory for the number at an index of a contiguous array, one that was written before."""
    del context

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        prefetch_into_l2(builder, builder.gep(data, [args[1]]))
        return context.get_dummy_value()

    return types.void(numbers, index), generate


@intrinsic
def float_of_bits(context: Any, bits: Any) -> Any:
    """The float32 that these 32 bits are."""
    from llvmlite import ir

    del context, bits
    return types.float32(types.uint32), lambda _c, builder, _s, args: builder.bitcast(
        args[0], ir.FloatType()
    )


@intrinsic
def bits_of_float(context: Any, number: Any) -> Any:
    """The 32 bits of a float32."""
    from llvmlite import ir

    del context, number
    return types.uint32(types.float32), lambda _c, builder, _s, args: builder.bitcast(
        args[0], ir.IntType(32)
    )


def wide(number: Any) -> Any:
    """A stored number as float32. This form is Python's; loops get the one below."""
    if isinstance(number, np.uint16):
        return np.uint32(int(number) << 16).view(np.float32)
    return number


@overload(wide, inline="always")
def _wide(number: Any) -> Any:
    # The inner functions must name and annotate their arguments as the outer one does.
    def of_bits(number: Any) -> Any:
        return float_of_bits(np.uint32(number) << np.uint32(16))

    def as_it_is(number: Any) -> Any:
        return number

    return of_bits if number == types.uint16 else as_it_is


def narrow(number: Any, like: Any) -> Any:
    """A float32 in the format of `like`, an array: to nearest, ties to even. This form is Python's;
    loops get the one below."""
    if like.dtype != np.uint16:
        return number
    bits = int(np.float32(number).view(np.uint32))
    return np.uint16(((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFFFFFF) >> 16)


@overload(narrow, inline="always")
def _narrow(number: Any, like: Any) -> Any:
    def rounded(number: Any, like: Any) -> Any:
        bits = bits_of_float(number)
        odd = (bits >> np.uint32(16)) & np.uint32(1)
        return np.uint16((bits + np.uint32(0x7FFF) + odd) >> np.uint32(16))

    def as_it_is(number: Any, like: Any) -> Any:
        return number

    return rounded if like.dtype == types.uint16 else as_it_is


@njit(inline="always")
def exp(x: Any) -> Any:
    """e^x in float32 to 1.1 units of the last place; 0 below -87, and e^88 above 88.

    2^n e^r with |r| <= ln 2 / 2, and 1 + r + r^2 q(r) for e^r, where q is the polynomial of the
    fourth order whose largest relative error there is least: 3e-9, forty times below Taylor's.
    """
    low = x < np.float32(-87.0)
    x = min(max(x, np.float32(-87.0)), np.float32(88.0))
    n = np.floor(x * np.float32(1.4426950408889634) + np.float32(0.5))
    r = x - n * np.float32(0.693359375) + n * np.float32(2.12194440e-4)
    p = np.float32(0.00138145)
    p = p * r + np.float32(0.00836875)
    p = p * r + np.float32(0.04166839)
    p = p * r + np.float32(0.1666652)
    p = p * r + np.float32(0.49999993)
    p = p * r + np.float32(1.0)
    p = p * r + np.float32(1.0)
    power = float_of_bits(np.uint32((np.int32(n) + np.int32(127)) << np.int32(23)))
    return np.float32(0) if low else p * power


@njit(inline="always")
def _ordered(bits: Any) -> Any:
    """Bits of a float32 as an integer of the same order, and back."""
    return bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF))


@njit(fastmath=FAST)
def largest(row: Any) -> Any:
    """The largest number of a row; -NaN where it is empty, NaN where one is.

    Compared as integers: numba does not vectorise a maximum of floats. A NaN with its sign bit set
    counts as the smallest number: whoever then subtracts the largest finds it in the differences.
    """
    found = np.int32(-(2**31))
    for j in range(len(row)):
        found = max(found, _ordered(np.int32(bits_of_float(wide(row[j])))))
    return float_of_bits(np.uint32(_ordered(found)))
