"""The questions that users ask, answered from estimates."""
