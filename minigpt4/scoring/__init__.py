"""From answers to numbers: what an answer says, whether it is right, and how sure the number is."""
