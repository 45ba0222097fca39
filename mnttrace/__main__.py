"""`python -m mnttrace` is the command `mnttrace`."""

from mnttrace.cli import main

main()
