"""Annotations and pictures to samples, batches and loaders."""
