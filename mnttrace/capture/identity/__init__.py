"""Whose mount namespace it is."""
