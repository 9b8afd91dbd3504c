"""Hardware as people name it, resolved to figures; and the hardware of this machine."""
