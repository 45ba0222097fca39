"""Raw logs, put through the core: tests that need nothing but Python."""
