"""What a recipe is made of: each stage turns artifacts of a run into new ones."""

from collections.abc import Mapping

STAGES: Mapping[str, str] = {
    "load_model": "burnish.stages.load:LoadModel",
    "reasoning_problems": "burnish.stages.load:ReasoningProblems",
    "worked_sums": "burnish.stages.load:WorkedSums",
    "tool_sums": "burnish.stages.tool_sums:ToolSums",
    "guessing_problems": "burnish.stages.guessing_problems:GuessingProblems",
    "foreign_problems": "burnish.stages.foreign_problems:ForeignProblems",
    "everyday_problems": "burnish.stages.load:EverydayProblems",
    "constrained_prompts": "burnish.stages.constraints:ConstrainedPrompts",
    "load_data": "burnish.stages.load_data:LoadData",
    "sft": "burnish.stages.sft:SFT",
    "sample": "burnish.stages.sample:Sample",
    "annotate": "burnish.stages.annotate:Annotate",
    "calibrate_judge": "burnish.stages.calibrate_judge:CalibrateJudge",
    "revise": "burnish.stages.revise:Revise",
    "self_instruct": "burnish.stages.self_instruct:SelfInstruct",
    "train_reward": "burnish.stages.reward:TrainReward",
    "train_outcome": "burnish.stages.outcome:TrainOutcome",
    "train_process": "burnish.stages.process:TrainProcess",
    "train_attributes": "burnish.stages.attributes:TrainAttributes",
    "label_steps": "burnish.stages.label_steps:LabelSteps",
    "rate": "burnish.stages.rate:Rate",
    "ensemble": "burnish.stages.ensemble:Ensemble",
    "reject": "burnish.stages.reject:Reject",
    "prefer": "burnish.stages.prefer:Prefer",
    "distill": "burnish.stages.distill:Distill",
    "rl": "burnish.stages.rl:RL",
    "merge": "burnish.stages.merge:Merge",
    "evaluate": "burnish.stages.evaluate:Evaluate",
    "evaluate_env": "burnish.stages.evaluate_env:EvaluateEnv",
    "over_optimisation": "burnish.stages.over_optimisation:OverOptimisation",
    "inference_scaling": "burnish.stages.study:InferenceScaling",
    "control": "burnish.stages.control:Control",
}
"""What a recipe calls a type of stage -> "module:Class", imported when a recipe uses it."""
