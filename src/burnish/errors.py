"""The error tree. Every error a user can cause is one line that says what, where, and the fix.

BurnishError
├── ConfigError      a recipe, knob or command line is wrong
├── DataError        a file or row is wrong (names path:line)
├── TemplateError    a chat template or tokenizer cannot do what training needs
├── ModelError       weights cannot be had, read or trusted
├── RunError         a run directory is locked, changed or incomplete
├── CheckpointError  a checkpoint is damaged, missing or could not be written
├── EndpointError    a model's server cannot be reached, or answers wrongly
├── SandboxError     untrusted code cannot be run safely on this machine
├── RewardError      a user's reward function cannot be loaded, or fails too often
├── TrainingError    training left the finite numbers, or found nothing to learn from
└── Interrupted      the run was asked to stop, and did so at a checkpoint
"""


class BurnishError(Exception):
    """The root: the command line prints it as one line and exits with `exit_code`."""

    exit_code = 1


class ConfigError(BurnishError):
    """A recipe, knob or command line is wrong."""

    exit_code = 2


class DataError(BurnishError):
    """A file or row is wrong; the message names path:line."""


class TemplateError(BurnishError):
    """A chat template or tokenizer cannot do what training needs."""


class ModelError(BurnishError):
    """Weights cannot be had, read or trusted."""


class RunError(BurnishError):
    """A run directory is locked, changed or incomplete."""


class CheckpointError(BurnishError):
    """A checkpoint is damaged, missing or could not be written."""


class EndpointError(BurnishError):
    """A model's server cannot be reached, or answers wrongly."""


class SandboxError(BurnishError):
    """Untrusted code cannot be run safely on this machine."""


class TrainingError(BurnishError):
    """Training left the finite numbers, or found nothing to learn from."""


class RewardError(BurnishError):
    """A user's reward function cannot be loaded, or fails too often."""


class Interrupted(BurnishError):
    """The run was asked to stop (SIGTERM 15, SIGINT 2), and did so where it can go on."""

    def __init__(self, signal_number: int = 15) -> None:
        self.exit_code = 128 + signal_number
        super().__init__("stopped")
