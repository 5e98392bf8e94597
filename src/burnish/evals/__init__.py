"""Evaluation suites and the statistics that reports rest on."""
