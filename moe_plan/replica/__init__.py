"""A real, runnable model from a spec alone: the calculator's witness. Needs torch."""
