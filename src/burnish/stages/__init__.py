"""What a recipe is made of: each stage turns artifacts of a run into new ones."""

from collections.abc import Mapping

STAGES: Mapping[str, str] = {
    "control": "burnish.stages.control:Control",
}
"""What a recipe calls a type of stage -> "module:Class", imported when a recipe uses it."""
