"""What a run will take, before it runs: measured on its first steps, or estimated."""
