"""What a recording is made of: the tables, the writer and the reader."""
