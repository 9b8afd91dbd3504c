"""Attention kinds of the replica: one module a kind, each from its paper or the model's own code."""
