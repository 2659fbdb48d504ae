"""Prints a line per kind of attack."""

from __future__ import annotations

import sys

from tests.attacks import KINDS, faults


def main() -> int:
    """Carry out attacks; return 1 if one has done harm."""
    words, n_harmful, n_tried = sys.argv[1:], 0, 0
    for name, kind in KINDS.items():
        if not words or any(word in name for word in words):
            found = faults(kind)
            print(f"{name.replace('_', ' '):48}{'; '.join(found) or 'no harm'}", flush=True)
            n_harmful, n_tried = n_harmful + bool(found), n_tried + 1
    print(f"{n_tried} attacks, {n_harmful} with harm")
    return int(bool(n_harmful))


if __name__ == "__main__":
    sys.exit(main())
