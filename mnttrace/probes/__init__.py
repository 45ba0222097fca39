"""The BPF programs: what they need of the kernel, compiled, loaded, attached and asked."""
