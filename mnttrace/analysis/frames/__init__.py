"""Frames that follow from a recording's tables: propagations, leaks, births, refusals and so on."""
