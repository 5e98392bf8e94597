"""Programs that judge completions: exact answers, checkable instructions."""
