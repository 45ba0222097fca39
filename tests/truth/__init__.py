"""The real kernel as the judge of each operation: what it did against what was recorded of it."""
