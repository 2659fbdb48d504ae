"""Tests of the trainer, run by `make test-train`."""
