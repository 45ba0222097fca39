"""mnttrace: which mounts leaked across mount namespaces, through which peer group, by whom."""
