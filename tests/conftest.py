"""Shapes are promises: every call into the algorithms is checked against its annotations."""

import gc
import sys
from types import ModuleType

from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

# jaxtyping wants a checker by its place in a module: beartype, with ints where floats may be.
checker = ModuleType("shape_checker")
checker.checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
sys.modules["shape_checker"] = checker
install_import_hook("burnish.algos", "shape_checker.checked")


def pytest_collection_finish() -> None:
    """What was imported stays, so that a stage's collection of garbage need not go through it."""
    gc.collect()
    gc.freeze()
