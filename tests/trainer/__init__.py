"""Tests of the trainer, which have an environment of their own: make test-train."""
