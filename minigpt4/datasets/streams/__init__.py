"""Data sets read from tar shards one after the other: local, by URL, or from a command."""
