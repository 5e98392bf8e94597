"""Other people's text inside a prompt, in blocks that it cannot leave.

A completion may be written to sway its judge. Every line of it is shown behind a bar, so that no
line of it can be the line that ends a block; the marks of chat templates are broken, since some
servers read them in any text. That keeps apart what is quoted from what is asked. It cannot keep a
model from being persuaded by what it reads: that is what calibration against labels is for.
"""

import re

BAR = "| "
_MARKS = re.compile(r"<\|(?=[\w ]{1,40}\|>)|\[(?=/?INST\])|<(?=</?SYS>>|/?SYS>>)|<(?=/?s>)")
_TURNS = re.compile(r"<(?=(?:start|end)_of_turn>)")


def quoted(name: str, text: str) -> str:
    """A block that begins and ends with lines in which nothing of `text` can stand."""
    # splitlines knows every separator that a reader may take for a line's end, not only \\n.
    lines = [BAR + line for line in defused(text).splitlines()] or [BAR]
    return "\n".join([f"[begin {name}]", *lines, f"[end {name}]"])


def defused(text: str) -> str:
    """Marks of chat templates with a space inside, so that no tokenizer takes them for control."""
    spaced = _MARKS.sub(lambda match: f"{match[0]} ", text)
    return _TURNS.sub("< ", spaced)
