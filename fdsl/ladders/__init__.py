"""Whole experiments in pre-training, from formula to table."""
