"""mnttrace: which mounts leaked across mount namespaces, through which peer group, by whom."""

__version__ = "0.1.0"
