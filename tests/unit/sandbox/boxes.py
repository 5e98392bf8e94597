"""What tests that need boxes share: a skip that says why, where the machine has none."""

import pytest

from burnish.errors import SandboxError
from burnish.sandbox import box


def _missing() -> str:
    try:
        box.available()
    except SandboxError as error:
        return str(error)
    return ""


WHY_NOT = _missing()
needs_boxes = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "boxes work")
