"""Simulated engines with given speeds, for `make bench-serving`."""
