"""Answers as text: terminal, plain, Markdown, CSV, JSON."""
