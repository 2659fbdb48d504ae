"""One dataset as files: searching, baking, checking, verifying, repairing."""
