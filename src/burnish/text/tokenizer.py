"""Loading a tokenizer, and what every caller must know of it: its stop tokens and its plain text.

Whatever a dataset or a user wrote is text here: the literal `<|im_end|>` in it never becomes the
control token. Chats are the business of `burnish.text.chat`.
"""

import functools
from pathlib import Path

import jinja2
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from burnish.errors import ModelError, TemplateError
from burnish.text.control import codec_for, control_tokens

TEMPLATE_FAILURES = (
    jinja2.TemplateError,
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)
"""What running a template, which is foreign code in Jinja's sandbox, can raise."""

_PROBE = "\ufddf"


def load_tokenizer(path: str | Path) -> PreTrainedTokenizerFast:
    """The tokenizer of a local model directory; nothing is downloaded, no remote code is run.

    Raises:
        ModelError: the directory is absent or holds no fast tokenizer.
        TemplateError: the tokenizer names no EOS token.
    """
    path = Path(path)
    if not path.is_dir():
        raise ModelError(f"{path}: not a directory; give the local directory of a model")
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            str(path), local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"{path}: no tokenizer can be read ({reason}); "
            "the directory needs tokenizer.json and tokenizer_config.json"
        ) from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ModelError(
            f"{path}: {type(tokenizer).__name__} has no tokenizer.json; convert it to a fast "
            "tokenizer first, which training needs for character offsets"
        )
    if tokenizer.eos_token_id is None:
        raise TemplateError(
            f"{path}: the tokenizer names no EOS token, so nothing could end a completion; "
            "set `eos_token` in tokenizer_config.json"
        )
    return tokenizer


def require_chat_template(tokenizer: PreTrainedTokenizerFast) -> None:
    """Pass where the tokenizer can write chats.

    Raises:
        TemplateError: it has no chat template.
    """
    if not tokenizer.chat_template:
        raise TemplateError(
            "the tokenizer has no chat template (a base model?); add `chat_template` to "
            "tokenizer_config.json, for instance ChatML, or train on plain text"
        )


def stop_ids(tokenizer: PreTrainedTokenizerFast) -> frozenset[int]:
    """The ids that end a completion: EOS, and what the template writes after an assistant turn.

    Raises:
        TemplateError: there is no EOS token, or the template fails on the plainest chat.
    """
    if tokenizer.eos_token_id is None:
        raise TemplateError("the tokenizer names no EOS token; set `eos_token`")
    return frozenset({int(tokenizer.eos_token_id), turn_end(tokenizer)})


def turn_end(tokenizer: PreTrainedTokenizerFast) -> int:
    """The id that the chat template writes after an assistant turn; EOS where it writes none.

    Raises:
        TemplateError: the template fails on the plainest chat.
    """
    if not tokenizer.chat_template:
        return int(tokenizer.eos_token_id)
    end = _turn_end(tokenizer, str(tokenizer.chat_template), len(tokenizer))
    return int(tokenizer.eos_token_id) if end is None else end


# The template and the size are in the key because both may be changed on a tokenizer in use.
@functools.lru_cache(maxsize=16)
def _turn_end(tokenizer: PreTrainedTokenizerFast, template: str, size: int) -> int | None:
    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": _PROBE}]
    try:
        text: str = tokenizer.apply_chat_template(chat, tokenize=False)
    except TEMPLATE_FAILURES as error:
        raise TemplateError(
            f"the chat template fails on one user and one assistant turn ({error})"
        ) from error
    tail = text.rpartition(_PROBE)[2].lstrip()
    found = [t for t in control_tokens(tokenizer) if tail.startswith(t.content)]
    return max(found, key=lambda t: len(t.content)).id if found else None


def encode_text(text: str, tokenizer: PreTrainedTokenizerFast) -> tuple[int, ...]:
    """The ids of plain text, for models without a chat template.

    BOS is put in front where the tokenizer does so by itself; EOS is the caller's to add. Special
    tokens written out in the text stay text.
    """
    before = _own_bos(tokenizer)
    return before + codec_for(tokenizer, [text]).encode_plain(text)


def _own_bos(tokenizer: PreTrainedTokenizerFast) -> tuple[int, ...]:
    bos = tokenizer.bos_token_id
    wrapped = tokenizer("a", add_special_tokens=True)["input_ids"]
    return (int(bos),) if bos is not None and wrapped[:1] == [bos] else ()
