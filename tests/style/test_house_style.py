"""House rules that a machine can check, so that nobody argues them in review (CONTRIBUTING.md)."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "burnish"
FILES = sorted(SOURCE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}

LONGEST_FILE, LONGEST_FUNCTION = 500, 60
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "base", "core"}
ROOTS = {"Protocol", "Generic", "Module", "Function", "Enum", "StrEnum", "IntEnum", "NamedTuple"}
"""What a class may derive from without counting as inheritance."""
UNTRUSTED: dict[str, str] = {
    "verifiers/reasoning_worker.py": "scorers of reasoning-gym, on what a model wrote",
    "sandbox/answering.py": "what a model wrote",
    "sandbox/judging.py": "the tests of a data set, which call it",
    "verifiers/user_worker.py": "a user's reward function, in a process of its own",
}
"""Files that may catch Exception, and what they run that nobody vouches for."""

Node = TypeVar("Node", bound=ast.stmt | ast.expr | ast.ExceptHandler)


def name_of(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def walk(*kinds: type[Node]) -> Iterator[tuple[str, Node]]:
    """Every node of these kinds, with `file:line`."""
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, kinds):
                yield f"{name_of(path)}:{node.lineno}", node


def test_files_are_short() -> None:
    lengths = {name_of(p): len(p.read_text(encoding="utf-8").splitlines()) for p in FILES}
    assert {n: k for n, k in lengths.items() if k > LONGEST_FILE} == {}


def test_functions_are_short() -> None:
    found = {
        f"{where} {node.name}": node.end_lineno - node.lineno + 1
        for where, node in walk(ast.FunctionDef, ast.AsyncFunctionDef)
        if node.end_lineno is not None
    }
    assert {n: k for n, k in found.items() if k > LONGEST_FUNCTION} == {}


def test_files_are_named_for_what_is_in_them() -> None:
    assert [name_of(p) for p in FILES if p.stem in VAGUE_NAMES] == []


def test_classes_inherit_one_deep() -> None:
    bases = {
        node.name: [ast.unparse(b).split("[")[0].rsplit(".")[-1] for b in node.bases]
        for _, node in walk(ast.ClassDef)
    }

    def depth(name: str) -> int:
        parents = [b for b in bases.get(name, []) if b in bases and b not in ROOTS]
        return 0 if name.endswith("Error") else max((1 + depth(b) for b in parents), default=0)

    assert [name for name in bases if depth(name) > 1] == []


def test_only_the_command_line_prints() -> None:
    calls = [
        where
        for where, node in walk(ast.Call)
        if isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert [where for where in calls if not where.startswith("cli/")] == []


def test_nothing_catches_everything() -> None:
    def broad(node: ast.ExceptHandler) -> bool:
        names = (
            {n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)} if node.type else set()
        )
        return node.type is None or bool(names & {"Exception", "BaseException"})

    found = [where for where, node in walk(ast.ExceptHandler) if broad(node)]
    assert [where for where in found if where.partition(":")[0] not in UNTRUSTED] == []


def test_attributes_are_not_looked_up_by_constant_names() -> None:
    found = [
        where
        for where, node in walk(ast.Call)
        if isinstance(node.func, ast.Name)
        and node.func.id in ("getattr", "hasattr", "setattr")
        and len(node.args) > 1
        and isinstance(node.args[1], ast.Constant)
    ]
    assert found == []


@pytest.mark.parametrize("path", sorted((SOURCE / "algos").glob("*.py")), ids=lambda p: p.name)
def test_algorithms_import_nothing_but_torch_and_jaxtyping(path: Path) -> None:
    imported = {
        (alias.name if isinstance(node, ast.Import) else node.module or "").partition(".")[0]
        for node in ast.walk(TREES[path])
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert imported - sys.stdlib_module_names <= {"torch", "jaxtyping", "burnish"}


def test_what_is_public_says_what_it_is() -> None:
    silent = [
        f"{name_of(path)}:{node.lineno} {node.name}"
        for path, tree in TREES.items()
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert silent == []
    assert [name_of(p) for p, tree in TREES.items() if not ast.get_docstring(tree)] == []


def test_the_environment_is_read_by_the_command_line_only() -> None:
    found = [
        where
        for where, node in walk(ast.Attribute)
        if ast.unparse(node) in ("os.environ", "os.getenv") and not where.startswith("cli/")
    ]
    assert found == []


def test_the_command_line_starts_without_torch() -> None:
    code = "import sys, burnish.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
