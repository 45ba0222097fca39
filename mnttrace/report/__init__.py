"""Each way of showing a recording: what it says is written to a file."""
