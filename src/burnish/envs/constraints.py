"""The table of constraints that prompts are given: how each is drawn and said, what clashes.

Arguments are such that the constraint can be met in a short answer, and wordings are this project's
own. Two constraints go together when they use nothing in common: all capitals and all small letters
both use the case, a quotation and a closing phrase both use the end.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from burnish.envs.constraint_draws import (
    ENDINGS,
    FIRST_WORDS,
    LANGUAGES,
    UNWANTED,
    WANTED,
    Dice,
    Drawn,
    compared,
    frequency,
    letter,
    nth_paragraph,
    sections,
)
from burnish.types import Json, content_hash

_YES_NO = ("is ", "are ", "can ", "could ", "do ", "does ", "should ", "will ", "would ")


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """One kind of constraint."""

    draw: Callable[[Dice], Drawn]
    wordings: Sequence[str]
    """With the arguments in braces."""
    uses: frozenset[str]
    """What of an answer it lays claim to."""
    small: bool = True
    """Whether a small model meets it now and then, and so can learn it from a reward."""
    fits: Callable[[str], bool] = lambda prompt: True
    """The prompts that it can be put to."""

    def say(self, drawn: Mapping[str, Json], dice: Dice) -> str:
        """The constraint in words."""
        return dice.one(self.wordings).format(**{n: _said(v) for n, v in drawn.items()})


def _said(value: Json) -> str:
    if isinstance(value, list):
        quoted = [f'"{one}"' for one in value]
        return " and ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)
    return LANGUAGES.get(str(value), str(value))


def _uses(text: str) -> frozenset[str]:
    return frozenset(text.split())


FAMILIES: Mapping[str, Family] = {
    "keywords:existence": Family(
        draw=lambda d: {"keywords": [*d.some(WANTED, d.number((1, 1), (1, 2), (2, 4)))]},
        wordings=(
            "Use {keywords} in your answer.",
            "Your answer should mention {keywords}.",
            "Work {keywords} into what you write.",
        ),
        uses=_uses("words letters"),
    ),
    "keywords:frequency": Family(
        draw=frequency,
        wordings=(
            'Use the word "{keyword}" {relation} {frequency} times.',
            'The word "{keyword}" has to appear {relation} {frequency} times.',
        ),
        uses=_uses("words letters"),
    ),
    "keywords:forbidden_words": Family(
        draw=lambda d: {"forbidden_words": [*d.some(UNWANTED, d.number((1, 2), (2, 3), (4, 6)))]},
        wordings=(
            "Do not use {forbidden_words}.",
            "Avoid {forbidden_words} altogether.",
            "Answer without ever writing {forbidden_words}.",
        ),
        uses=_uses("forbidden"),
    ),
    "keywords:letter_frequency": Family(
        draw=letter,
        wordings=(
            'The letter "{letter}" should appear {let_relation} {let_frequency} times.',
            'Write the letter "{letter}" {let_relation} {let_frequency} times in all.',
        ),
        uses=_uses("letters"),
    ),
    "language:response_language": Family(
        draw=lambda d: {"language": d.one([*LANGUAGES])},
        wordings=(
            "Answer entirely in {language}.",
            "Write your whole answer in {language} and in no other language.",
        ),
        uses=_uses("words letters forbidden size blocks stars start end case comma title brackets"),
        small=False,
    ),
    "length_constraints:number_sentences": Family(
        draw=compared(
            "num_sentences", "relation", ((2, 3), (4, 6), (8, 12)), ((4, 6), (3, 4), (3, 3))
        ),
        wordings=(
            "Write {relation} {num_sentences} sentences.",
            "Your answer should have {relation} {num_sentences} sentences.",
        ),
        uses=_uses("size blocks"),
    ),
    "length_constraints:number_words": Family(
        draw=compared(
            "num_words",
            "relation",
            ((20, 40), (50, 90), (120, 200)),
            ((40, 60), (30, 45), (24, 30)),
        ),
        wordings=(
            "Answer with {relation} {num_words} words.",
            "Keep to {relation} {num_words} words.",
            "Write {relation} {num_words} words in total.",
        ),
        uses=_uses("size"),
    ),
    "length_constraints:number_paragraphs": Family(
        draw=lambda d: {"num_paragraphs": d.number((2, 2), (2, 3), (4, 5))},
        wordings=(
            "Write exactly {num_paragraphs} paragraphs and put *** between one and the next.",
            "Divide your answer into {num_paragraphs} paragraphs with a line of *** between them.",
        ),
        uses=_uses("blocks stars"),
        small=False,
    ),
    "length_constraints:nth_paragraph_first_word": Family(
        draw=nth_paragraph,
        wordings=(
            "Write exactly {num_paragraphs} paragraphs with an empty line between them; paragraph "
            'number {nth_paragraph} begins with the word "{first_word}".',
        ),
        uses=_uses("blocks start"),
        small=False,
    ),
    "detectable_content:number_placeholders": Family(
        draw=lambda d: {"num_placeholders": d.number((2, 2), (2, 3), (4, 6))},
        wordings=(
            "Leave at least {num_placeholders} placeholders in square brackets such as [name].",
            "Include {num_placeholders} or more blanks to fill in, each written like [place].",
        ),
        uses=_uses("brackets"),
    ),
    "detectable_content:postscript": Family(
        draw=lambda d: {"postscript_marker": d.one(("P.S.", "P.P.S"))},
        wordings=(
            "Add a postscript at the end that begins with {postscript_marker}",
            "Close with a postscript; mark it {postscript_marker}",
        ),
        uses=_uses("end"),
    ),
    "detectable_format:number_bullet_lists": Family(
        draw=lambda d: {"num_bullets": d.number((2, 3), (3, 5), (6, 9))},
        wordings=(
            "Answer with exactly {num_bullets} bullet points; each one starts with * or -",
            "Give a list of exactly {num_bullets} bullets, written like this:\n* first\n* second",
        ),
        uses=_uses("blocks stars start"),
    ),
    "detectable_format:constrained_response": Family(
        draw=lambda d: {},
        wordings=(
            'Reply with one of these: "My answer is yes." "My answer is no." "My answer is maybe."',
        ),
        uses=_uses("size case words"),
        fits=lambda prompt: prompt.casefold().startswith(_YES_NO),
    ),
    "detectable_format:number_highlighted_sections": Family(
        draw=lambda d: {"num_highlights": d.number((2, 2), (2, 3), (4, 6))},
        wordings=(
            "Highlight at least {num_highlights} phrases with asterisks, *like this*.",
            "Mark {num_highlights} or more parts of your answer in markdown as *highlighted*.",
        ),
        uses=_uses("stars"),
    ),
    "detectable_format:multiple_sections": Family(
        draw=sections,
        wordings=(
            "Divide your answer into {num_sections} sections headed {section_spliter} 1, "
            "{section_spliter} 2 and so on.",
        ),
        uses=_uses("blocks case"),
    ),
    "detectable_format:json_format": Family(
        draw=lambda d: {},
        wordings=(
            "Give the whole answer as JSON and nothing else.",
            "Your entire answer must be one valid JSON object.",
        ),
        uses=_uses("start end blocks stars comma case size"),
        small=False,
    ),
    "detectable_format:title": Family(
        draw=lambda d: {},
        wordings=(
            "Put a title in double angle brackets, such as <<a short walk>>.",
            "Give your answer a title, written as <<title>>.",
        ),
        uses=_uses("title"),
    ),
    "combination:two_responses": Family(
        draw=lambda d: {},
        wordings=(
            "Give two different answers with six asterisks (******) between them and nowhere else.",
        ),
        uses=_uses("blocks stars start end"),
        small=False,
    ),
    "combination:repeat_prompt": Family(
        draw=lambda d: {"prompt_to_repeat": d.prompt},
        wordings=(
            "First copy the request above word for word, then answer it.",
            "Begin by repeating what stands above exactly as it is; your answer follows.",
        ),
        uses=_uses("start size blocks words letters forbidden comma"),
        small=False,
    ),
    "startend:end_checker": Family(
        draw=lambda d: {"end_phrase": d.one(ENDINGS)},
        wordings=(
            'The last words of your answer must be "{end_phrase}"',
            'Finish with exactly this: "{end_phrase}"',
        ),
        uses=_uses("end letters"),
    ),
    "startend:quotation": Family(
        draw=lambda d: {},
        wordings=(
            "Put double quotation marks around your whole answer.",
            'Begin and end your answer with a double quotation mark (").',
        ),
        uses=_uses("start end blocks"),
    ),
    "change_case:capital_word_frequency": Family(
        draw=compared(
            "capital_frequency",
            "capital_relation",
            ((2, 3), (3, 4), (6, 9)),
            ((4, 6), (3, 4), (3, 3)),
        ),
        wordings=(
            "Write {capital_relation} {capital_frequency} words in CAPITAL letters.",
            "Words in all capitals should appear {capital_relation} {capital_frequency} times.",
        ),
        uses=_uses("case"),
    ),
    "change_case:english_capital": Family(
        draw=lambda d: {},
        wordings=(
            "Answer in English and in CAPITAL LETTERS only.",
            "Write in English with every letter a capital.",
        ),
        uses=_uses("case"),
        small=False,
    ),
    "change_case:english_lowercase": Family(
        draw=lambda d: {},
        wordings=(
            "Answer in English, all in lowercase.",
            "Write in English without a single capital letter.",
        ),
        uses=_uses("case"),
    ),
    "punctuation:no_comma": Family(
        draw=lambda d: {},
        wordings=(
            "Do not use any commas.",
            "Leave out commas entirely.",
            "Your answer must be free of commas.",
        ),
        uses=_uses("comma"),
    ),
}
"""By the published name of each kind."""
SMALL_KINDS = tuple(kind for kind, family in FAMILIES.items() if family.small)


def constraints_digest() -> str:
    """A hash of the words that constraints are made of, so that a run sees when they change."""
    said = [wording for family in FAMILIES.values() for wording in family.wordings]
    return content_hash(*said, *WANTED, *UNWANTED, *ENDINGS, *FIRST_WORDS)
