"""Runs inside the tests' box: tests that are not plain asserts but `unittest`'s, or pytest's.

They run after the file they stand in was executed, the first that fails raises.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FunctionType


@contextmanager
def without_running(tests: str) -> Iterator[None]:
    """`unittest.main()` does nothing meanwhile: it would look for tests elsewhere, and exit."""
    if "unittest" not in tests:  # importing it would double what a verdict costs
        yield
        return
    import unittest

    before = unittest.main
    unittest.main = lambda *_, **__: None  # type: ignore[assignment]
    try:
        yield
    finally:
        unittest.main = before


def run_unit_tests(names: dict[str, object]) -> None:
    """Runs every TestCase, and every function `test_*` without arguments, of a file's names.

    Raises:
        AssertionError: one failed; its text is that test's name and the end of its report.
        Exception: what a function raised.
    """
    unittest = sys.modules.get("unittest")
    for name, value in list(names.items()):
        if unittest and isinstance(value, type) and issubclass(value, unittest.TestCase):
            result = unittest.TestResult()
            result.failfast = True
            unittest.defaultTestLoader.loadTestsFromTestCase(value).run(result)
            for case, report in [*result.failures, *result.errors]:
                raise AssertionError(f"{case}: {report.strip().splitlines()[-1]}")
        elif name.startswith("test_") and _is_test(value):
            value()  # type: ignore[operator]


def _is_test(value: object) -> bool:
    if not isinstance(value, FunctionType):
        return False
    return value.__code__.co_argcount == 0 and value.__module__ == "tests"
