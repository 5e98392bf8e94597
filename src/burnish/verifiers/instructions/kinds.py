"""The table of kinds, under their published names, with the arguments that each takes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from burnish.config import suggest
from burnish.errors import DataError
from burnish.types import Json
from burnish.verifiers.instructions import format as form
from burnish.verifiers.instructions import keywords, length, whole
from burnish.verifiers.instructions.args import Args, Check


@dataclass(frozen=True, slots=True)
class Kind:
    """How a check is made of arguments, and their names."""

    make: Callable[[Args], Check]
    names: tuple[str, ...] = ()


KINDS: Mapping[str, Kind] = {
    "keywords:existence": Kind(keywords.existence, ("keywords",)),
    "keywords:frequency": Kind(keywords.frequency, ("keyword", "frequency", "relation")),
    "keywords:forbidden_words": Kind(keywords.forbidden_words, ("forbidden_words",)),
    "keywords:letter_frequency": Kind(
        keywords.letter_frequency, ("letter", "let_frequency", "let_relation")
    ),
    "language:response_language": Kind(whole.response_language, ("language",)),
    "length_constraints:number_sentences": Kind(
        length.number_sentences, ("num_sentences", "relation")
    ),
    "length_constraints:number_paragraphs": Kind(length.number_paragraphs, ("num_paragraphs",)),
    "length_constraints:number_words": Kind(length.number_words, ("num_words", "relation")),
    "length_constraints:nth_paragraph_first_word": Kind(
        length.nth_paragraph_first_word, ("num_paragraphs", "nth_paragraph", "first_word")
    ),
    "detectable_content:number_placeholders": Kind(form.number_placeholders, ("num_placeholders",)),
    "detectable_content:postscript": Kind(form.postscript, ("postscript_marker",)),
    "detectable_format:number_bullet_lists": Kind(form.number_bullet_lists, ("num_bullets",)),
    "detectable_format:constrained_response": Kind(form.constrained_response),
    "detectable_format:number_highlighted_sections": Kind(
        form.number_highlighted_sections, ("num_highlights",)
    ),
    "detectable_format:multiple_sections": Kind(
        form.multiple_sections, ("section_spliter", "num_sections")
    ),
    "detectable_format:json_format": Kind(form.json_format),
    "detectable_format:title": Kind(form.title),
    "combination:two_responses": Kind(whole.two_responses),
    "combination:repeat_prompt": Kind(whole.repeat_prompt, ("prompt_to_repeat",)),
    "startend:end_checker": Kind(whole.end_checker, ("end_phrase",)),
    "startend:quotation": Kind(whole.quotation),
    "change_case:capital_word_frequency": Kind(
        whole.capital_word_frequency, ("capital_frequency", "capital_relation")
    ),
    "change_case:english_capital": Kind(whole.english_capital),
    "change_case:english_lowercase": Kind(whole.english_lowercase),
    "punctuation:no_comma": Kind(whole.no_comma),
}


def check_of(kind: str, values: Mapping[str, Json]) -> Check:
    """The check of one instruction; text that is blank follows none.

    Raises:
        DataError: the kind is unknown, or an argument is missing, wrong or unknown.
    """
    found = KINDS.get(kind)
    if found is None:
        raise DataError(f"no instruction `{kind}`; {suggest(kind, KINDS)}")
    for name, value in values.items():
        if name not in found.names and value is not None:
            takes = suggest(name, found.names) if found.names else "it takes none"
            raise DataError(f"{kind}: unknown argument `{name}`; {takes}")
    follows = found.make(Args(kind=kind, values=values))

    def followed(text: str) -> bool:
        try:
            return bool(text.strip()) and follows(text)
        except TimeoutError:  # NLTK gives each of its patterns five seconds
            return False

    return followed
