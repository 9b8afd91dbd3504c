"""The replica against the inventory, line by line. Needs torch."""
