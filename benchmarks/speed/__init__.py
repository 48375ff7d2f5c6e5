"""What the speed benchmark is made of: sizes, subjects, counted work and the machine's own rate."""
