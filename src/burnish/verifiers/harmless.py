"""Whether a text may be given to a scorer that evaluates it, as some of reasoning-gym's do.

`eval` and sympy's `parse_expr`, which is `eval` too, run whatever a model wrote: a call in an
answer is a call in the process that scores it. So an answer that reaches one of them is read as
Python's syntax first, and must be plain data or a formula. An unevaluated `Integral(f, x)`, which
differentiates to what was asked, is neither.
"""

import ast
import functools
import sys
import types
from typing import Literal

Evaluated = Literal["data", "formula"]

MAX_CHARS = 1000
MAX_DIGITS = 30
MAX_POWER = 100
FUNCTIONS = frozenset(
    """
    sin cos tan cot sec csc asin acos atan acot sinh cosh tanh asinh acosh atanh exp log ln sqrt
    Abs abs erf
    """.split()  # noqa: SIM905
)
NAMES = frozenset({"pi", "E"})
_EVALUATE: dict[str, Evaluated] = {
    "eval": "data",
    "exec": "data",
    "parse_expr": "formula",
    "sympify": "formula",
}
_DATA = (
    ast.Expression, ast.Constant, ast.Name, ast.Load, ast.List, ast.Tuple, ast.Set, ast.Dict,
    ast.UnaryOp, ast.USub, ast.UAdd,
)  # fmt: skip
_FORMULA = (
    ast.Expression, ast.Constant, ast.Name, ast.Load, ast.UnaryOp, ast.USub, ast.UAdd, ast.BinOp,
    ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow, ast.Call,
)  # fmt: skip


def may_be_scored(name: str, text: str) -> bool:
    """Whether the scorer of a data set of reasoning-gym may be given the text."""
    return all(harmless(text, kind) for kind in evaluates(name))


def harmless(text: str, evaluated: Evaluated) -> bool:
    """Whether evaluating it can do nothing but build a value of a bounded size.

    data: numbers, texts, names and lists of them, or no Python at all, which `eval` refuses.
    formula: numbers, one-letter names, + - * / **, and the functions of `FUNCTIONS`. Texts are
    none: sympy evaluates those as well. What is no Python is none, since sympy rewrites first.
    """
    if len(text) > MAX_CHARS:
        return False
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError):
        return evaluated == "data"
    except (RecursionError, MemoryError):
        return False
    allowed = _DATA if evaluated == "data" else _FORMULA
    nodes = list(ast.walk(tree))
    if not all(isinstance(node, allowed) for node in nodes):
        return False
    return evaluated == "data" or all(_fits(node) for node in nodes)


def _fits(node: ast.AST) -> bool:
    match node:
        case ast.Constant(value=value):
            return type(value) in (int, float) and len(repr(value)) <= MAX_DIGITS
        case ast.Name(id=name):
            return len(name) == 1 or name in FUNCTIONS | NAMES
        case ast.Call(func=ast.Name(id=name), keywords=[]):
            return name in FUNCTIONS
        case ast.Call():
            return False
        case ast.BinOp(op=ast.Pow(), right=power):
            return _small(power)
    return True


def _small(power: ast.AST) -> bool:
    """No tower of powers, and no large number."""
    return not any(
        (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow | ast.Mult))
        or (isinstance(node, ast.Constant) and not abs(node.value) <= MAX_POWER)  # type: ignore[arg-type]
        for node in ast.walk(power)
    )


@functools.cache
def evaluates(name: str) -> frozenset[Evaluated]:
    """How the scorer of a data set evaluates text: by the names its code and its helpers use."""
    from reasoning_gym.factory import DATASETS

    dataset = DATASETS[name][0]
    own = vars(sys.modules[dataset.__module__])
    seen: set[str] = set()
    found: set[Evaluated] = set()
    left = ["score_answer"]
    while left:
        word = left.pop()
        function = getattr(dataset, word, None) or own.get(word)
        if isinstance(function, types.FunctionType) and "reasoning_gym" in function.__module__:
            if word not in seen:
                seen.add(word)
                left += _names(function.__code__)
        elif word in _EVALUATE:
            found.add(_EVALUATE[word])
    return frozenset(found)


def _names(code: types.CodeType) -> list[str]:
    """Names that code uses, in functions and comprehensions inside it too."""
    inner = [part for part in code.co_consts if isinstance(part, types.CodeType)]
    return [*code.co_names, *(name for part in inner for name in _names(part))]
