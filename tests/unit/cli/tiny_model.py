"""A model directory and a run's directory, for commands that read them."""

import json
from pathlib import Path

from tests.tiny import CHATML, tiny_llama, tiny_tokenizer


def write_model(
    path: Path, *, seed: int = 0, template: str | None = CHATML, context: int = 512
) -> Path:
    """A random Llama with its tokenizer."""
    tokenizer = tiny_tokenizer(template)
    tiny_llama(tokenizer, seed, context=context).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def write_run(path: Path, model: Path, heldout: str = "") -> Path:
    """A run with a loaded and two trained models, held-out problems, and an unfinished stage."""
    stages = {"base": "load_model", "sft": "sft", "dpo": "prefer", "late": "rl", "mine": "load"}
    path.mkdir()
    recipe = {"name": "r", "seed": 3, "stages": dict.fromkeys(stages)}
    (path / "recipe.yaml").write_text(json.dumps(recipe))
    for number, (name, kind) in enumerate(stages.items(), 1):
        home = path / "stages" / f"{number:02}-{name}"
        (home / "artifacts").mkdir(parents=True)
        config = {"name": name, "type": kind, "key": "k", "config": {}}
        (home / "config.json").write_text(json.dumps(config))
        output, suffix = ("heldout", ".jsonl") if name == "mine" else ("model", "")
        if name == "mine":
            (home / "artifacts" / "heldout.jsonl").write_text(heldout)
        elif name != "late":
            (home / "artifacts" / "model").symlink_to(model)
        made = {"path": f"artifacts/{output}{suffix}", "sha256": "", "num_bytes": 0}
        made["kind"] = "problems" if name == "mine" else "model"
        if name != "late":
            done = {"key": "k", "artifacts": {output: made}}
            (home / "stage.json").write_text(json.dumps(done))
    return path
