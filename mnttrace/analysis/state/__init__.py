"""The mount tables of all namespaces as they were at a moment of a recording."""
