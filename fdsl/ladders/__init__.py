"""Ladders: whole experiments in pre-training, from the formula to a table of results."""
