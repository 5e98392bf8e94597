"""Runs code that nobody vouches for, such as what a model wrote, in a box."""
