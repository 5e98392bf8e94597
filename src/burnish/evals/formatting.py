"""How much markup a text has: reward models are known to like it for itself."""

import re

_MARKUP = re.compile(
    r"^[ \t]*(?:[-*+]|\d+[.)])[ \t]+(?=\S)"  # an item of a list
    r"|^#{1,6} \S"
    r"|\*\*[^*\n]+\*\*"
    r"|`[^`\n]+`"
    r"|^```"
    r"|^\|.+\|[ \t]*$",
    re.MULTILINE,
)


def markup_count(text: str) -> int:
    """Markdown list items, headings, bold and code spans, fences and table rows."""
    return len(_MARKUP.findall(text))
