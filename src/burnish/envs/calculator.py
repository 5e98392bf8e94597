"""Arithmetic that a model asks for: exact, and bounded in time and size whatever it writes.

The text is parsed into Python's syntax tree and only numbers, brackets and + - * / // % ** are
followed; nothing is ever executed. Values are fractions, so 0.1 + 0.2 is 0.3 and 1 / 3 * 3 is 1.
"""

import ast
import operator
from collections.abc import Callable, Mapping
from fractions import Fraction

LONGEST = 200
"""Characters of an expression."""
LARGEST_BITS = 512
"""Of a numerator or denominator: about 150 digits. It also bounds what a power may become."""
DIGITS = 10
"""Significant digits of a result that is no integer and has no short decimal form."""

_OPERATIONS: Mapping[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: lambda a, b: Fraction(a // b),
    ast.Mod: operator.mod,
}


def calculate(expression: str) -> str:
    """The value of an expression, such as `12*7` -> `84`, `1/4` -> `0.25`.

    Raises:
        ValueError: it is no arithmetic, is too long or too large, or divides by zero; the message
            is short, for the model to read.
    """
    if len(expression) > LONGEST:
        raise ValueError(f"longer than {LONGEST} characters")
    try:
        tree = ast.parse(expression.strip(), mode="eval")
        return _written(_value(tree.body))
    except (SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError("not an arithmetic expression") from error
    except ZeroDivisionError as error:
        raise ValueError("division by zero") from error


def _value(node: ast.expr) -> Fraction:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            # A float's own digits, not those of its binary form; inf has none.
            return _bounded(Fraction(repr(number)) if abs(number) < 1e100 else _too_large())
        case ast.UnaryOp(op=ast.UAdd() | ast.USub(), operand=below):
            value = _value(below)
            return -value if isinstance(node.op, ast.USub) else value
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _power(_value(left), _value(right))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATIONS:
            return _bounded(_OPERATIONS[type(op)](_value(left), _value(right)))
        case _:
            raise ValueError("only numbers, brackets and + - * / // % ** are known")


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1:
        raise ValueError("exponents must be integers")
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    # 0, 1 and -1 stay small whatever the exponent, but its parity is all that may matter then.
    if abs(base) in (0, 1):
        return base ** (int(exponent) % 2 if base and exponent else int(exponent))
    if bits * abs(int(exponent)) > 2 * LARGEST_BITS:
        _too_large()
    return _bounded(base ** int(exponent))


def _bounded(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > LARGEST_BITS:
        _too_large()
    return value


def _too_large() -> Fraction:
    raise ValueError("the result is too large")


def _written(value: Fraction) -> str:
    if value.denominator == 1:
        return str(value.numerator)
    scaled = value * 10**DIGITS
    if scaled.denominator == 1:
        sign, size = ("-" if value < 0 else ""), f"{abs(scaled.numerator):0{DIGITS + 1}d}"
        return f"{sign}{size[:-DIGITS]}.{size[-DIGITS:]}".rstrip("0")
    return f"{float(value):.{DIGITS}g}"
