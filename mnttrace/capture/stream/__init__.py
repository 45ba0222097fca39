"""From the kernel's buffers to typed events."""
