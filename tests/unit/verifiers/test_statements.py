"""Which of a completion's statements count as its final answers."""

import time

import pytest

from burnish.verifiers.statements import Form, boxes, find_statements

ALL: tuple[Form, ...] = ("mark", "hashes", "boxed", "phrase")


def values(text: str, prompt: str = "", forms: tuple[Form, ...] = ALL) -> list[str]:
    return [s.value for s in find_statements(text, forms, prompt)]


def test_every_form_is_found_and_only_where_it_is_asked_for() -> None:
    text = "So the answer is 4.\n#### 4\n\\boxed{4}\nAnswer: 4"
    assert values(text) == ["4"] * 4
    assert values(text, forms=("boxed",)) == ["4"]
    assert values("4", forms=ALL) == []


def test_a_mark_takes_its_line_or_the_next_that_holds_something() -> None:
    assert values("Answer: 4 apples \nfive") == ["4 apples"]
    assert values("**Answer:**\n\n  4\nfive") == ["4"]
    assert values("Answer: 4 Answer: 5") == ["4", "5"]
    assert values("Answer:\nAnswer: 4") == ["4"]
    assert values("Answer: 4\nAnswer:") == ["4", ""]


def test_a_block_goes_on_to_a_sentence_below_an_empty_line() -> None:
    block: tuple[Form, ...] = ("block",)
    assert values("Answer: 1 2\n3 4", forms=block) == ["1 2\n3 4"]
    assert values("Answer:\n1 2\n3 4\n\nSo it is.", forms=block) == ["1 2\n3 4"]
    assert values("Answer:\n1 2\n\n3 4", forms=block) == ["1 2\n\n3 4"]
    assert values("Answer: 1\n2\nAnswer: 3\n4", forms=block) == ["1\n2", "3\n4"]
    assert values("Answer: 1\n2\n\nWait, that is wrong.", forms=block) == []


def test_what_is_struck_out_is_no_statement() -> None:
    assert values("Answer: ~~4~~") == values("~~Answer: 4~~") == values("~~\\boxed{4}~~") == []
    assert values("~~Answer: 4~~\nAnswer: 5") == ["5"]
    assert values("$x~~=~~4$\nAnswer: 5") == ["5"]


def test_bare_numbers_and_letters_below_an_answer_are_a_list_that_goes_on() -> None:
    assert values("Answer: 4\n5\n 6 \nand so on") == ["4", "5", "6"]
    assert values("Answer: B\n(C)\n\nD") == ["B", "(C)"]
    assert values("Answer:\n4\n\n5") == ["4"]
    assert values("Answer: 4\n4 + 5 = 9") == ["4"]


def test_boxes_may_nest_braces_and_the_outermost_counts() -> None:
    assert values("\\boxed{\\frac{1}{\\sqrt{2}}}") == ["\\frac{1}{\\sqrt{2}}"]
    assert values("\\boxed{\\{1, 2\\}}") == ["\\{1, 2\\}"]
    assert values("\\boxed{a \\boxed{b}} \\boxed{c}") == ["a \\boxed{b}", "c"]
    assert values("\\boxed 5 and \\boxed{6") == ["5"]


def test_headings_of_markdown_are_no_hashes() -> None:
    assert values("#### Step 1\n#### 2. Add\n#### 42") == ["42"]


def test_thinking_is_no_statement() -> None:
    assert values("<think>Answer: 3</think>\nAnswer: 4") == ["4"]
    assert values("<think>Answer: 3") == []


@pytest.mark.parametrize(
    "text",
    [
        "Answer: 3\nWait, I forgot one.\nAnswer: 4",
        "Answer: 3. No, that's wrong.\nAnswer: 4",
        "Answer: 3\nno: Answer: 4",
        "\\boxed{3}. Let me recheck. It is \\boxed{4}.",
    ],
)
def test_what_is_taken_back_and_replaced_does_not_count(text: str) -> None:
    assert values(text) == ["4"]


@pytest.mark.parametrize(
    "text",
    [
        "Answer: 4\nNo, that is wrong.",
        "Answer: 4. That's incorrect.",
        "Answer: 4\nor 5",
        "\\boxed{4}, or maybe five",
        "Answer: 4\nWait, 5?",
        "Answer: 4\nActually, it's 5.",
        "$\\boxed{4}$ cannot be right.",
        "\\boxed{4} is wrong",
    ],
)
def test_what_is_taken_back_or_left_open_at_the_end_leaves_nothing(text: str) -> None:
    assert values(text) in ([], ["4", "5"])
    assert "4" not in values(text)[-1:] or len(values(text)) != 1


@pytest.mark.parametrize(
    "text",
    [
        "Answer: 4\nActually, 4.",
        "Answer: 4\n\nWait, 2+2=4.",
        "Answer: 4\nNo further steps are needed.",
        "Answer: 4\nActually I like sums with 5 terms.",
        "\\boxed{4} is the answer, not 5.",
        "A wrong answer: 5.\nAnswer: 4",
        "- \\boxed{4}",
        "After correcting that mistake, the result is \\boxed{4}",
        "> \\boxed{4}",
    ],
)
def test_what_is_said_besides_takes_nothing_back(text: str) -> None:
    assert values(text) == ["4"]


def test_several_without_a_word_between_them_all_count() -> None:
    assert values("Answer: 3\nAnswer: 4") == ["3", "4"]


def test_the_prompt_given_back_is_no_statement() -> None:
    prompt = 'End with "Answer:" and the number.\nA friend of mine says: Answer: 4\nIs he right?'
    assert values(prompt, prompt) == []
    assert values('The question says "Answer: 4".', prompt) == []
    assert values(f"{prompt}\n\nAnswer: 5", prompt) == ["5"]
    assert values("Answer: 4", prompt) == ["4"]  # said by itself it is the completion's own
    assert values('I shall end with "Answer:" and the number.\nAnswer: 5') == ["5"]


@pytest.mark.parametrize(
    "text",
    [
        "\\boxed{" * 200_000,
        "answer " * 200_000,
        "~~a~~ Answer: 4\n" * 50_000,
        ("Answer: 4\n\n" + " " * 80 + "a" * 200) * 5_000,
        "Answer: 4\n" * 100_000,
        "answer to " * 100_000,
        "answer" + " " * 1_000_000,
        "{" * 500_000 + "}" * 500_000,
        "\n" * 1_000_000 + "Answer: 4",
        "Answer: 4" + "\n!" * 500_000,
        "Answer: 4" + "\n4" * 100_000,
    ],
    ids=range(11),
)
def test_a_megabyte_takes_seconds_at_most(text: str) -> None:
    began = time.process_time()
    find_statements(text, ALL, "What is it?")
    find_statements(text, ("block",), "What is it?")
    assert time.process_time() - began < 5


def test_boxes_say_where_they_stand() -> None:
    text = "x \\boxed{4} y"
    start, end, content = next(boxes(text))
    assert (text[start:end], content) == ("\\boxed{4}", "4")
