"""Hides pandas from the commands that `footprint.py` runs."""

raise ImportError("hidden")
