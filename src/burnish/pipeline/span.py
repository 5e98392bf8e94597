"""Spans of time as people write them."""

import re

from burnish.errors import ConfigError

_SPAN = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


def is_span(text: str) -> bool:
    """Whether it is one."""
    return _seconds(text) > 0


def parse_span(text: str) -> float:
    """Seconds in "90s", "8m" or "1h30m". Raises: ConfigError."""
    if not is_span(text):
        raise ConfigError(f"budget={text!r} is no span of time; write it like 90s, 8m or 1h30m")
    return _seconds(text)


def _seconds(text: str) -> float:
    match = _SPAN.fullmatch(text.strip().lower())
    hours, minutes, seconds = (int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    return float(hours * 3600 + minutes * 60 + seconds)
