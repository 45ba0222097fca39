"""From events to rows: what happened to which mount, and why. No I/O."""
