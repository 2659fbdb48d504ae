"""One dataset as files: searching, baking, checking, verifying, repairing."""

import sys

from fdsl.primitives.errors import PLATFORMS

if sys.platform == "win32":  # no byte locks, no signal masks
    raise ImportError(PLATFORMS)
