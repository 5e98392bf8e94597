"""Reading what a server of OpenAI's form sends back."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from burnish.verifiers.chat import Answer


def read_answer(value: Any) -> Answer:
    """Raises: KeyError, IndexError or TypeError, where it is not of OpenAI's form."""
    text = value["choices"][0]["message"]["content"]
    if text is not None and not isinstance(text, str):
        raise TypeError("content must be text")
    usage = value.get("usage")
    usage = usage if isinstance(usage, dict) else {}

    def count(key: str) -> int | None:
        number = usage.get(key)
        if not isinstance(number, int) or isinstance(number, bool) or number < 0:
            return None
        return number

    # A refusal may come with null for its text: nothing was said, so nothing can be read from it.
    return Answer(
        text=text or "",
        prompt_tokens=count("prompt_tokens"),
        completion_tokens=count("completion_tokens"),
    )


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, from a number or a date; None where there is neither."""
    given = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d+)?", given):
        return float(given)
    try:
        when = parsedate_to_datetime(given)
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max((when - datetime.now(UTC)).total_seconds(), 0.0)
