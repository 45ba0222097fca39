"""Recordings: their tables, writing, reading, older formats, and imported mount tables."""
