"""Live only: the probes, the snapshots and the recorder that joins them."""
