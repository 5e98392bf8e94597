"""Conversation -> token ids and train mask."""
