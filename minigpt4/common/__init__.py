"""What every other part stands on: errors, registry, settings, boxes, text, metrics."""
