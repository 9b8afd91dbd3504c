"""Peak activation bytes, predicted stage by stage from the spec."""
