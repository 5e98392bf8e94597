"""Progress: what is left is told from estimates rescaled by what was measured."""

import io

import pytest

from burnish.pipeline.progress import Forecast, Lines, Loop, duration, printable
from burnish.pipeline.terminal import Bars


def test_time_left_rescales_estimates_by_finished_work() -> None:
    forecast = Forecast(names=("a", "b", "c"), expected_s={"a": 10, "b": 10, "c": 100})
    forecast.actual_s["a"] = 20  # twice as slow as expected, so is all the rest
    assert forecast.left("b", elapsed_s=5, loop_s=15) == (15, 15 + 200)
    assert forecast.left("b", elapsed_s=0, loop_s=None) == (20, 220)
    assert forecast.left("reads-a-file", elapsed_s=0, loop_s=None) == (None, 220)


def test_time_left_is_unknown_without_estimates() -> None:
    forecast = Forecast(names=("a", "b"), expected_s={})
    assert forecast.left("a", elapsed_s=3, loop_s=None) == (None, None)
    assert forecast.left("a", elapsed_s=3, loop_s=3) == (3, None)
    forecast.actual_s["a"] = 6
    assert forecast.left("b", elapsed_s=3, loop_s=3) == (3, 3)


def test_a_loop_taken_up_midway_is_paced_from_there() -> None:
    now = [0.0]
    loop = Loop(60, clock=lambda: now[0])
    assert loop.left_s(0) is None
    fresh, resumed = Loop(60, clock=lambda: now[0]), Loop(60, clock=lambda: now[0])
    for step in range(1, 11):
        now[0] = 2.0 * step
        assert fresh.left_s(step) in (None, 2.0 * (60 - step))
        assert resumed.left_s(40 + step) == 2.0 * (20 - step)


def test_lines_come_now_and_then_with_both_estimates() -> None:
    now, said = [0.0], list[str]()
    lines = Lines(said.append, clock=lambda: now[0], every_s=15)
    lines.begin(["a", "b"], {"a": 60, "b": 60})
    lines.enter("a")
    task = lines.task(60, "step")
    for step in (1, 20, 21):
        now[0] = float(step)
        task.update(step, "loss\x1b[31m 0.5")
    lines.leave("a", 61)
    assert said == [
        "[1/2] a ...",
        "[1/2] a  step 20/60  loss\\x1b[31m 0.5  ETA 0:40, whole 1:40",
        "[1/2] a done in 1:01",
    ]


def test_bars_show_stages_and_escape_what_models_write() -> None:
    from rich.console import Console

    out = io.StringIO()
    bars = Bars(Console(file=out, force_terminal=True, width=90))
    bars.begin(["a", "b"], {"a": 4, "b": 4})
    for name in ("a", "b"):
        bars.enter(name)
        bars.task(4, "step").update(2, "[bold]\x1b]0;title\x07")
        bars.leave(name, 4)
    bars.end()
    text = out.getvalue()
    assert "1/2  a" in text and "2/2  b" in text
    assert "\x1b]0;title" not in text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (9.97, "0:10"), (370, "6:10"), (3970, "1:06:10")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_printable_keeps_letters_and_escapes_controls() -> None:
    assert printable("é\n\t日") == "é\n\t日"
    assert printable("\x1b[2J\r\x9b\u202e\ud800") == "\\x1b[2J\\r\\x9b\\u202e\\ud800"
