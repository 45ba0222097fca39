"""Recordings as text, HTML, graphs and traces: each is written to a file."""
