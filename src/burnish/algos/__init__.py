"""Pure tensor mathematics: one paper, one file. No models, files, clocks, devices or logging."""
