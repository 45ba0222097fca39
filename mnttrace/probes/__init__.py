"""The BPF programs: what this kernel has for them; compiled, loaded, attached, asked and read."""
