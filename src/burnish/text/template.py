"""Chat templates as files: those that ship, a model's own, and whether it is the one meant.

A stage that renders chats otherwise than the one before it trains on other text than was meant, and
nothing fails. A recipe may say which template its run is to use, by hash.
"""

import hashlib
from importlib import resources
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from burnish.config import suggest
from burnish.errors import TemplateError

FILE = "chat_template.jinja"
"""Beside a tokenizer; it goes before a template inside of tokenizer_config.json."""


def packaged_templates() -> dict[str, Path]:
    """Name -> file of each template that ships with Burnish."""
    folder = Path(str(resources.files("burnish") / "text" / "templates"))
    return {path.stem: path for path in sorted(folder.glob("*.jinja"))}


def read_template(name: str) -> str:
    """The text of a template by name or path. Raises: TemplateError, if it is neither."""
    known = packaged_templates()
    path = known.get(name, Path(name))
    if not path.is_file():
        raise TemplateError(f"template {name}: neither a file nor known; {suggest(name, known)}")
    return path.read_text(encoding="utf-8")


def sha256_of(template: str) -> str:
    """The hash that a recipe locks."""
    return hashlib.sha256(template.encode("utf-8")).hexdigest()


def set_template(folder: Path, template: str) -> None:
    """Give the tokenizer in a model's directory this template, instead of its own if it has one."""
    path = folder / FILE
    path.unlink(missing_ok=True)  # it may be a hard link to the source's
    path.write_text(template, encoding="utf-8")


def check_template(tokenizer: PreTrainedTokenizerFast, sha256: str) -> None:
    """Pass where the tokenizer writes chats by the template with this hash.

    Raises:
        TemplateError: it has none, several or another one.
    """
    template = tokenizer.chat_template
    if not isinstance(template, str):
        found = "several chat templates" if template else "no chat template"
        raise TemplateError(
            f"{tokenizer.name_or_path}: has {found}, and the recipe locks {sha256[:12]}...; name "
            "the one to use as `template`"
        )
    if sha256_of(template) != sha256:
        raise TemplateError(
            f"{tokenizer.name_or_path}: its chat template has SHA-256 {sha256_of(template)}, and "
            f"the recipe locks {sha256[:12]}...; stages on two templates train on other text than "
            "was meant: use the model that the recipe was written for, or set template_sha256"
        )
