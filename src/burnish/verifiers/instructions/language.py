"""Which language a text is in, by langdetect with a fixed seed: the same text, the same verdict."""

from functools import lru_cache
from pathlib import Path

SEED = 0
"""langdetect draws at random; unseeded, a short text may be one language now and another later."""


@lru_cache(maxsize=4096)
def detected(text: str) -> str | None:
    """Its code, such as `en` or `zh-cn`; None where nothing can be told, as of bare digits."""
    from langdetect import DetectorFactory, LangDetectException, detect

    DetectorFactory.seed = SEED
    try:
        return str(detect(text))
    except LangDetectException:
        return None


def is_in(text: str, code: str) -> bool:
    """Whether it is in the language; text of no language counts as in any, as published."""
    return detected(text) in (code, None)


@lru_cache(maxsize=1)
def codes() -> frozenset[str]:
    """Every language that can be told: langdetect has one file for each."""
    from langdetect import PROFILES_DIRECTORY

    return frozenset(path.name for path in Path(PROFILES_DIRECTORY).iterdir() if not path.suffix)
