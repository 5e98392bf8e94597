"""Memory of a span: what was held before does not count, nor what came before it in the process."""

import sys
from pathlib import Path

import pytest

from burnish.pipeline.clock import Clock
from burnish.pipeline.files import read_json
from burnish.pipeline.peak import PeakMemory, resident_bytes

LARGE = 256 << 20
linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")


@linux
def test_a_peak_is_seen_after_its_memory_was_freed_and_only_within_its_span() -> None:
    span, before = PeakMemory(), resident_bytes()
    assert before is not None
    block = bytearray(LARGE)
    del block
    seen = span.bytes()
    assert seen is not None and seen >= before + 0.9 * LARGE
    later = PeakMemory().bytes()
    assert later is not None and later < before + 0.5 * LARGE


@linux
def test_a_stage_keeps_the_peak_of_the_session_before(tmp_path: Path) -> None:
    clock = Clock(tmp_path)
    block = bytearray(LARGE)
    clock.save()
    del block
    saved = read_json(tmp_path / "clock.json")
    resumed = Clock(tmp_path).peak_bytes()
    assert saved is not None and resumed is not None
    assert resumed >= saved["peak_bytes"] > LARGE
    assert resumed < saved["peak_bytes"] + LARGE / 2
