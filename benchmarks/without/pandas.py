"""Hides pandas from the commands that `footprint.py` and the tests run."""

raise ImportError("hidden")
