"""Models: Hugging Face definitions used as they are, with heads, adapters and ragged attention."""
