"""One of two plugins under one entry point's name."""
