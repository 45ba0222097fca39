"""Tests that need root and the real kernel, and mirror the package."""
