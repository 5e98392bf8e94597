"""The graph of stages, its run directory, cache and resume. Knows no machine learning."""
