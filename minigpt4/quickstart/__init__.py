"""The embedded default: a small model of the same classes, from its data to its report."""
