"""The toolkit's version."""

from importlib.metadata import version

VERSION = version("fdsl")
