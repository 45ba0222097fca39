"""What Linux says, without policy."""
