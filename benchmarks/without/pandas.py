"""Hides pandas from the programs that `footprint.py` watches."""

raise ImportError("hidden")
