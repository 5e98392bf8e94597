"""What of a text can be seen: rewards for its shape must not count what shows nothing.

A zero-width space is no blank to Python's `strip`, so that a section, an answer or forty words made
of them would look filled.
"""

_BLANKS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180e\u2800\u3164\uffa0")
"""Letters and symbols by their category that have no ink."""


def seen(text: str) -> str:
    """The text without control, format and unassigned characters, and those without ink."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c for c in text if c.isspace() or (c.isprintable() and c not in _BLANKS))
