"""Who does the work: one contract, one module per engine."""
