"""Reading mount tables and finding namespaces."""
