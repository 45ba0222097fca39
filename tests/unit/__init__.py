"""Tests that need nothing but Python, and mirror the package."""
