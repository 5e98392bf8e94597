"""Burnish: the whole of language-model post-training in one program."""

__version__ = "0.1.0"
