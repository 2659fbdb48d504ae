"""The console: progress, signals, one-line errors, exit codes."""
