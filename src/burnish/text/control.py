"""Which stretches of a rendered chat are control tokens, and which are text that looks like them.

A chat template joins its own markers and foreign strings into one text, in which the two cannot be
told apart. So foreign strings are *neutralised* before rendering (control tokens in them become
placeholders), and afterwards the markers that remain, which only the template can have written,
are *marked*: the text is encoded by a copy of the tokenizer that knows its added tokens by unique
marks instead of by their literal forms. One pass over the whole text keeps every rule of the
tokenizer (prefix spaces, normalisers, stripping) as it is; ids of harmless text are those of
`apply_chat_template`. Marks and placeholders start with a Unicode noncharacter that the text at
hand does not hold.

Left out: templates whose markers are no added tokens (such as Llama 2's `[INST]`) cannot be
protected, since for their tokenizer the marker is plain text too.
"""

import functools
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from burnish.errors import DataError, TemplateError

_SALTS = [(chr(0xFDD0 + 2 * i), chr(0xFDD1 + 2 * i)) for i in range(15)]
_FIRST = 0x100000  # plane 16 of private use: room for 65 thousand added tokens


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlToken:
    """An added token: matched in text before the model of the tokenizer sees it."""

    id: int
    content: str
    special: bool
    single_word: bool


def control_tokens(tokenizer: PreTrainedTokenizerFast) -> tuple[ControlToken, ...]:
    """All added tokens, by id."""
    return tuple(
        ControlToken(id=i, content=t.content, special=t.special, single_word=t.single_word)
        for i, t in sorted(tokenizer.added_tokens_decoder.items())
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Codec:
    """Neutralises, marks and encodes; made by `codec_for`."""

    tokens: tuple[ControlToken, ...]
    template: str
    mark_char: str
    place_char: str
    marked: Tokenizer
    literal: re.Pattern[str]
    any_form: re.Pattern[str]
    index: dict[str, int]
    original_ids: dict[int, int]

    def neutralise(self, text: str, *, trusted: bool, stops: frozenset[int]) -> str:
        """Replace control tokens in a foreign string by placeholders.

        Special tokens and stop tokens are replaced always. Other added tokens (`<think>`,
        `<tool_call>`) stay tokens in a trusted string, which is one the assistant wrote, and are
        replaced elsewhere if the template uses them.
        """

        def replace(match: re.Match[str]) -> str:
            i = self.index[match.group()]
            token = self.tokens[i]
            written = not trusted and _is_marker(token.content) and token.content in self.template
            if token.special or token.id in stops or written:
                return self.place_char + chr(_FIRST + i)
            return token.content

        return self.literal.sub(replace, text)

    def mark(self, rendered: str, places: Iterable[int] = ()) -> tuple[str, dict[int, int]]:
        """Turn literal control tokens into marks, and placeholders into what they stand for.

        Also says where character `places` of the rendered text are now; a place inside of a
        control token moves to its end.
        """
        pieces: list[str] = []
        moved: dict[int, int] = {}
        pending = sorted(places, reverse=True)
        done, length = 0, 0
        for match in self.any_form.finditer(rendered):
            while pending and pending[-1] <= match.start():
                place = pending.pop()
                moved[place] = length + place - done
            form = match.group()
            if form[0] == self.place_char:
                new = self.tokens[ord(form[1]) - _FIRST].content
            else:
                new = self.mark_char + chr(_FIRST + self.index[form])
            pieces += [rendered[done : match.start()], new]
            length += len(pieces[-2]) + len(new)
            done = match.end()
            while pending and pending[-1] < done:
                moved[pending.pop()] = length
        pieces.append(rendered[done:])
        moved |= {place: length + place - done for place in pending}
        return "".join(pieces), moved

    def encode(self, marked: str) -> tuple[tuple[int, ...], list[tuple[int, int]]]:
        """The ids of a marked text, and each token's (start, end) in its characters.

        Raises:
            TemplateError: the tokenizer loses a control token or finds one in plain text.
        """
        encoding = self.marked.encode(marked, add_special_tokens=False)
        ids = tuple(self.original_ids.get(i, i) for i in encoding.ids)
        if sum(i in self.original_ids for i in encoding.ids) != marked.count(self.mark_char):
            raise TemplateError(
                "the tokenizer's normaliser does not keep its own control tokens whole; "
                "set `normalized: false` on the added tokens in tokenizer.json"
            )
        special = {t.id: t.content for t in self.tokens if t.special}
        for before, after in zip(encoding.ids, ids, strict=True):
            if before not in self.original_ids and after in special:
                raise TemplateError(
                    f"the tokenizer cannot write {special[after]!r} as plain text; "
                    "take it out of the data"
                )
        return ids, list(encoding.offsets)

    def encode_plain(self, text: str) -> tuple[int, ...]:
        """The ids of a text in which nothing is a special token."""
        neutral = self.neutralise(text, trusted=True, stops=frozenset())
        return self.encode(self.mark(neutral)[0])[0]


def codec_for(tokenizer: PreTrainedTokenizerFast, texts: Iterable[str]) -> Codec:
    """The codec of a tokenizer, with marks that do not occur in `texts`.

    Raises:
        DataError: a text holds a lone surrogate, or every noncharacter there is.
    """
    present: set[str] = set()
    for text in texts:
        check_unicode(text)
        if not text.isascii():
            present.update(c for pair in _SALTS for c in pair if c in text)
    for salt, pair in enumerate(_SALTS):
        if present.isdisjoint(pair):
            return _codec(tokenizer, str(tokenizer.chat_template), len(tokenizer), salt)
    raise DataError("the text holds all of the noncharacters U+FDD0 to U+FDED; remove them")


def check_unicode(text: str) -> None:
    """Pass where text can be written as UTF-8.

    Raises:
        DataError: it holds a lone surrogate; the message has its character offset.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            f"character {error.start} is the lone surrogate U+{ord(text[error.start]):04X}, which "
            "is no text: the file was read with the wrong encoding or cut inside a character"
        ) from error


# The template and the size are in the key because both may be changed on a tokenizer in use.
@functools.lru_cache(maxsize=16)
def _codec(tokenizer: PreTrainedTokenizerFast, template: str, size: int, salt: int) -> Codec:
    tokens = control_tokens(tokenizer)
    mark_char, place_char = _SALTS[salt]
    spec = json.loads(tokenizer.backend_tokenizer.to_str())
    index = {token.content: i for i, token in enumerate(tokens)}
    for added in spec["added_tokens"]:
        # The pattern below has looked for word boundaries already.
        added["single_word"] = False
        added["content"] = mark_char + chr(_FIRST + index[added["content"]])
    # Only character offsets are its work here, and it would move them past leading spaces.
    spec["post_processor"] = spec["truncation"] = spec["padding"] = None
    marked = Tokenizer.from_str(json.dumps(spec))
    literal = _literals(tokens)
    return Codec(
        tokens=tokens,
        template=template,
        mark_char=mark_char,
        place_char=place_char,
        marked=marked,
        literal=re.compile(literal),
        any_form=re.compile(f"{place_char}[\U00100000-\U0010ffff]|{literal}"),
        index=index,
        original_ids={
            new: t.id
            for i, t in enumerate(tokens)
            if (new := marked.token_to_id(mark_char + chr(_FIRST + i))) is not None
        },
    )


def _literals(tokens: tuple[ControlToken, ...]) -> str:
    if not tokens:
        return r"(?!)"
    longest_first = sorted(tokens, key=lambda t: len(t.content), reverse=True)
    forms = [
        rf"(?<!\w){re.escape(t.content)}(?!\w)" if t.single_word else re.escape(t.content)
        for t in longest_first
    ]
    # The look-ahead rejects most characters at once where there are thousands of added tokens.
    first = "".join(sorted({re.escape(t.content[0]) for t in tokens}))
    return f"(?=[{first}])(?:{'|'.join(forms)})"


def _is_marker(content: str) -> bool:
    """Words and white space may be added tokens too, and are never markers."""
    return not content.isalnum() and bool(content.strip())
