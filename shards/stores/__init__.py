"""Where a dataset lives: one contract, one module per kind of store."""
