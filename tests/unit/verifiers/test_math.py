"""MATH's convention: what equals a reference and what does not, and answers made to do harm."""

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from burnish.verifiers import math_process
from burnish.verifiers.math import verify_math
from burnish.verifiers.math_process import equivalent

EQUAL = [
    ("\\frac{1}{2}", "0.5"),
    ("0.5", "\\frac12"),
    ("0.5", "50\\%"),
    ("50", "50\\%"),
    ("50\\%", "50"),
    ("\\frac34", "\\dfrac{3}{4}"),
    ("\\frac34", "\\tfrac34"),
    ("\\frac34", "3/4"),
    ("\\frac{7}{2}", "3\\frac{1}{2}"),
    ("\\frac{7}{2}", "3.50"),
    ("-\\frac{1}{2}", "\\frac{-1}{2}"),
    ("\\frac13", "0.333333"),
    ("1000", "1,000"),
    ("1000", "1{,}000"),
    ("1000", "10^3"),
    ("2500", "2.5 \\times 10^{3}"),
    ("0", "-0"),
    ("7", "007"),
    ("-2", "\N{MINUS SIGN}2"),
    ("5", "\\$5"),
    ("5", "5\\text{ cm}"),
    ("5\\mbox{ inches}^2", "5"),
    ("90", "90^\\circ"),
    ("5", "x = 5"),
    ("5", "x = 2 + 3 = 5"),
    ("x=5", "5"),
    ("2\\sqrt{2}", "\\sqrt{8}"),
    ("\\frac{\\sqrt3}{3}", "\\frac{1}{\\sqrt{3}}"),
    ("x^2+2x+1", "(x+1)^2"),
    ("x+1", "1 + x"),
    ("\\frac{\\pi}{2}", "\\pi/2"),
    ("(1,2)", "\\left( 1, 2 \\right)"),
    ("(-\\infty, 3]", "(-\\infty,3]"),
    ("\\{1,2\\}", "\\{2, 1\\}"),
    ("-1, 4", "4, -1"),
    ("3 \\pm \\sqrt2", "3+\\sqrt2, 3-\\sqrt2"),
    ("x > 3", "3 < x"),
    ("y = 2x+1", "y = 1 + 2x"),
    ("3+4i", "4i+3"),
    ("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}"),
    ("\\log_{2} 3", "\\log_2 3"),
    ("11_{2}", "11_2"),
    ("\\text{even}", "even"),
    ("\\text{Monday}", "\\text{monday}"),
    ("\\text{(A)}", "A"),
]
EQUAL += [
    ("1234", "1 234"),
    ("1.75", "1 3/4"),
    ("5, -5", "x = 5 \\text{ or } x = -5"),
    ("5, -5", "5 \\text{ and } -5"),
    ("2 \\cdot 2^{2003}", "2^{2004}"),
    ("256x", "2^{2^{3}} x"),
]
EQUAL += [
    ("[1,2]", "1 \\le x \\le 2"),
    ("[1,2]", "2 >= x >= 1"),
    ("(1,2]", "1 < x \\leq 2"),
    ("[1,\\infty)", "x \\ge 1"),
    ("[0,\\infty)", "0 \\le x < \\infty"),
    ("(-\\infty,1)", "1 > x"),
    ("[-\\sqrt{2},3)", "-\\sqrt{2} \\le t < 3"),
    ("(-\\infty,1)\\cup(2,\\infty)", "x < 1 \\text{ or } x > 2"),
    ("[1,2]", "\\{x \\mid 1 \\le x \\le 2\\}"),
    ("[1,2]", "x \\in [1,2]"),
    ("1 < x \\le 2", "(1,2]"),
    ("1, 2", "x_1 = 1, x_2 = 2"),
    ("3, 5, 7", "3, 5, \\text{ and } 7"),
    ("(1,2)", "(x, y) = (1, 2)"),
    ("(1,2)", "x = 1, y = 2"),
    ("\\frac13", "0.\\overline{3}"),
    ("\\frac16", "0.1\\bar{6}"),
    ("\\emptyset", "\\varnothing"),
    ("\\emptyset", "\\{ \\}"),
    ("2\\sqrt{3}", "2√3"),
    ("x^2", "x²"),
    ("5\\text{ cm}", "5 \\text{ centimeters}"),
    ("1:2:3", "1 : 2 : 3"),
    ("5", "\\{5\\}"),
]
UNEQUAL = [
    ("5", "5, 5"),
    ("5", "5; 5"),
    ("5", "5 \\text{ and } 5"),
    ("5", "\\{5, 5\\}"),
    ("5", "x = 5, y = 5"),
    ("5", "\\min(5, 6)"),
    ("5", "6 - 1"),
    ("5", "5 \\cdot 1"),
    ("6", "2×3"),
    ("5", "5x/x"),
    ("5", "5'"),
    ("0.5", "0.5..."),
    ("0.\\overline{3}", "0.3"),
    ("\\sqrt{2}", "\\sqrt{2}, \\sqrt{2}"),
    ("1, 2", "1, 1, 2"),
    ("(1,2)", "\\{1, 2\\}"),
    ("\\{1,2\\}", "(1, 2)"),
    ("(1,2)", "(y, x) = (1, 2)"),
    ("(1,2)", "x = 2, y = 1"),
    ("[1,2]", "1 < x \\le 2"),
    ("(1,2]", "1 \\le x \\le 2"),
    ("[1,2]", "1 \\le x \\ge 2"),
    ("[1,2]", "2 \\le x \\le 1"),
    ("[1,2]", "1 \\le x"),
    ("[1,2]", "1 \\le x \\le 2 \\text{ or } x = 5"),
    ("[1,\\infty)", "x > 1"),
    ("(3,\\infty)", "x \\ge 3"),
    ("x > 3", "[3,\\infty)"),
    ("(-\\infty,1)\\cup(2,\\infty)", "x < 1 \\text{ and } x > 2"),
    ("10_2", "10_3"),
    ("10_2", "10"),
    ("5\\text{ cm}", "5\\text{ m}"),
    ("5\\text{ cm}", "5\\text{ kg}"),
    ("5\\text{ hours}", "5 minutes"),
    ("1:2:3", "1:3:2"),
    ("13/4", "1 3/4"),
    ("42", "4 2"),
    ("5", "x = 5 \\text{ or } x = -5"),
    ("5", "5 or 6"),
    ("5", "\\text{anything but } 5"),
    ("x", "9^{9^{9}}"),
    ("5", "5\\ldots"),
    ("42", "420"),
    ("42", "4.2"),
    ("42", "-42"),
    ("42", "42.0000001"),
    ("\\frac12", "\\frac13"),
    ("\\frac13", "0.333"),
    ("0.5", "0.5\\%"),
    ("15", "1,5"),
    ("1000", "1,00"),
    ("4", "４"),
    ("4", "4 or 5"),
    ("4", "4 \\text{ or } 5"),
    ("4", "not 4"),
    ("4", "\\neq 4"),
    ("4", "4 \\text{ not}"),
    ("6", "4 2"),  # math-verify adds them
    ("9", "4 \\quad 5"),
    ("5", "3 = 5"),  # and takes the last of these
    ("10", "10_2"),  # and drops the base
    ("12", "1 2"),
    ("x=5", "y=5"),
    ("\\sqrt5", "\\sqrt5 \\text{wrong}"),
    ("4", "4x"),
    ("4", "x"),
    ("4", ""),
    ("4", "\\text{}"),
    ("4", "<answer>"),
    ("2\\sqrt2", "\\sqrt2"),
    ("\\sqrt2", "1.41"),
    ("\\sqrt2", "\\sqrt2, \\sqrt3"),
    ("\\sqrt2", "1 = \\sqrt2"),
    ("\\pi", "3.14"),
    ("(1,2)", "(2,1)"),
    ("(1,2)", "[1,2]"),
    ("(1,2]", "(1,2)"),
    ("1,2", "1"),
    ("1", "1,2"),
    ("\\{1,2\\}", "\\{1,2,3\\}"),
    ("x+1", "x-1"),
    ("2x", "2y"),
    ("x > 3", "x \\ge 3"),
    ("\\text{even}", "neve"),  # as products of letters they are equal
    ("\\text{even}", "\\text{not even}"),
    ("A", "B"),
    ("A", "A, B, C, D"),
]


@pytest.mark.parametrize(("reference", "answer"), EQUAL)
def test_equal_answers_pass(reference: str, answer: str) -> None:
    verdict = verify_math(f"Thus $\\boxed{{{answer}}}$.", reference)
    assert (verdict.passed, verdict.score, verdict.why) == (True, 1.0, "")


@pytest.mark.parametrize(("reference", "answer"), UNEQUAL)
def test_unequal_answers_fail(reference: str, answer: str) -> None:
    verdict = verify_math(f"Thus $\\boxed{{{answer}}}$.", reference)
    assert (verdict.passed, verdict.score) == (False, 0.0) and verdict.why


def test_an_answer_may_be_stated_in_other_forms_and_all_must_agree() -> None:
    for text in ("Answer: $\\frac12$", "The answer is $0.5$.", "**Answer:** \\(\\frac{1}{2}\\)"):
        assert verify_math(text, "\\frac12").passed
    assert verify_math("It is \\boxed{\\frac12}.", "So $x$ is \\boxed{\\frac12}.").passed
    for text in ("\\boxed{1} \\boxed{0.5}", "\\boxed{0.5}\nAnswer: 1", "\\boxed{0.5", "0.5", ""):
        assert not verify_math(text, "\\frac12").passed
    assert verify_math("x is \\boxed{1} or \\boxed{2}", "1, 2").passed


@pytest.mark.parametrize(
    "text",
    [
        "$\\cancel{\\boxed{5}}$",
        "~~\\boxed{5}~~",
        "$\\lnot \\boxed{5}$",
        "$\\ln \\boxed{5}$",
        "$\\boxed{5} \\neq x$",
        "$\\boxed{5} + 1$",
        "$\\boxed{5} \\times 10$",
    ],
)
def test_a_box_that_is_struck_out_or_changed_is_no_answer(text: str) -> None:
    assert not verify_math(text, "5").passed
    assert verify_math("$x~~=~~\\boxed{5}$", "5").passed


def test_a_base_may_be_left_out_where_it_was_asked_for() -> None:
    assert verify_math("\\boxed{10}", "10_2", "Write 2 in base two, or binary.").passed
    assert not verify_math("\\boxed{10_3}", "10_2", "Write 2 in base two, or binary.").passed


def test_the_questions_own_expression_is_no_answer() -> None:
    assert not verify_math("\\boxed{37 \\cdot 43}", "1591", "Compute $37 \\cdot 43$.").passed
    assert not verify_math("\\boxed{43 \\cdot 37}", "1591", "Compute $37 \\cdot 43$.").passed
    assert not verify_math("\\boxed{\\sqrt{8}}", "2\\sqrt{2}", "Simplify $\\sqrt{8}$.").passed
    assert verify_math("\\boxed{\\sqrt{7}}", "\\sqrt{7}", "Is $\\sqrt{7}$ the root?").passed


@pytest.mark.parametrize(
    "answer",
    ["9^{9^{9^9}} x", "{" * 100_000 + "x" + "}" * 100_000, "x" * 2_000_000],
    ids=["powers", "nesting", "megabytes"],
)
def test_hostile_expressions_fail_in_time(answer: str) -> None:
    equivalent("x", "x + 0")  # the process is there
    began = time.monotonic()
    verdict = verify_math(f"\\boxed{{{answer}}}", "x^2 + 1")
    assert verdict.passed is False
    assert time.monotonic() - began < math_process.TIMEOUT_S + 3


def test_late_is_unequal_and_the_next_question_is_answered() -> None:
    same, why = equivalent("x^2 + 1", "(x+1)^{99999}", 1.0)
    assert (same, why) == (False, "the comparison took longer than 1 s")
    assert equivalent("x + 2", "2 + x") == (True, "")


def test_threads_may_ask_at_once() -> None:
    found: list[tuple[int, bool]] = []
    threads = [
        threading.Thread(target=lambda i=i: found.append((i, equivalent(f"x+{i}", f"{i}+x")[0])))
        for i in range(50, 58)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [(i, True) for i in range(50, 58)]


def test_a_worker_that_is_killed_is_replaced() -> None:
    assert equivalent("x+61", "61+x")[0]
    process = math_process._PROCESS._workers[os.getpid()]._process
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    assert equivalent("x+62", "62+x")[0]


SCRIPT = """
import os, sys
from burnish.verifiers import math_process
assert math_process.equivalent("x+1", "1+x")[0]
own = math_process._PROCESS._workers[os.getpid()]._process.pid
child = os.fork()
if child == 0:
    ok = math_process.equivalent("x+2", "2+x")[0]
    other = math_process._PROCESS._workers[os.getpid()]._process.pid
    os._exit(0 if ok and other != own else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert math_process.equivalent("x+3", "3+x")[0]
print(own, flush=True)
os.kill(os.getpid(), 9)
"""


def test_a_fork_has_its_own_worker_and_none_outlives_its_parent() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == -9, done.stderr
    until = time.monotonic() + 10
    while _runs(int(done.stdout)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not _runs(int(done.stdout))


def _runs(pid: int) -> bool:
    try:
        return b"math_worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def test_the_workers_memory_is_bounded() -> None:
    assert equivalent("x+71", "71+x")[0]
    process = math_process._PROCESS._workers[os.getpid()]._process
    assert process is not None
    assert resource.prlimit(process.pid, resource.RLIMIT_AS)[0] == 1 << 30
    assert resource.prlimit(process.pid, resource.RLIMIT_FSIZE)[0] == 0
