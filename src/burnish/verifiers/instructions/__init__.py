"""The 25 kinds of verifiable instruction of IFEval (Zhou et al. 2023, arXiv 2311.07911)."""
