"""Questions to a recording: which part of it, which mounts, in SQL, or against another one."""
