"""Several reward models as one: what only some of them like is not rewarded so easily."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from burnish.config import require
from burnish.engine.reward_model import (
    REWARD_FILE,
    Average,
    EnsembleConfig,
    MeanMinusVariance,
    Worst,
    save_config,
)
from burnish.errors import ModelError
from burnish.pipeline.artifact import RewardModelRef
from burnish.pipeline.files import link
from burnish.pipeline.stage import Context
from burnish.text.vocabulary import require_same_vocabulary


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """Reward models -> one reward model, for wherever one is wanted.

    Members trained from different seeds or data disagree where they have not learnt; combining
    their normalised scores makes that harder to exploit (Coste et al. 2310.02743).
    """

    outputs: ClassVar[Mapping[str, str]] = {"reward_model": "reward_model"}

    members: tuple[RewardModelRef, ...]
    """Trained apart, on one tokenizer."""
    combine: Average | Worst | MeanMinusVariance = Average()

    def __post_init__(self) -> None:
        require(len(self.members) >= 2, "members must be at least 2 reward models")
        require(len(set(self.members)) == len(self.members), "members names one twice")

    def run(self, ctx: Context) -> None:
        paths = [ctx.input(member) for member in self.members]
        for member, path in zip(self.members, paths, strict=True):
            if not (path / REWARD_FILE).is_file():
                raise ModelError(f"{member}: is an ensemble itself; name its members instead")
            require_same_vocabulary(paths[0], path)
        out = ctx.output("reward_model")
        names = tuple(f"member-{i:02d}" for i in range(len(paths)))
        for name, path in zip(names, paths, strict=True):
            (out / name).mkdir(parents=True)
            for file in sorted(path.iterdir()):
                link(file, out / name / file.name)
        save_config(out, EnsembleConfig(members=names, combine=self.combine))
