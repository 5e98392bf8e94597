"""Sampling and learning: the state of a run lives here, behind small protocols."""
