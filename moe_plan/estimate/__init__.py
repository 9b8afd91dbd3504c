"""Sums over an inventory: parameters, bytes, FLOPs, reads."""
