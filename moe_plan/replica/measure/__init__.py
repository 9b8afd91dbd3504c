"""Measuring a forward: FLOPs by torch's formulas, bytes by what is allocated, seconds by the clock."""
