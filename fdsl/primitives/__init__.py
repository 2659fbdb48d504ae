"""What families share: validation, random streams, circles, lines."""
