"""More than one process: experts divided among ranks, tokens exchanged, and workers that are watched."""
