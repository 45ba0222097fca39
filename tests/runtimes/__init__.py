"""Tests with real container runtimes."""
