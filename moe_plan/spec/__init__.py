"""What people write about a model, and reading it."""
