"""The commands: read, call, print, exit code."""
