"""Linear attention, state spaces and short convolutions of the replica, token by token."""
