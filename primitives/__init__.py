"""What every family stands on: checked parameters, random streams, unit circles and lines. Imports no family."""
