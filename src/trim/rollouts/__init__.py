"""Recorded solution trees: collecting, storing, replaying and fitting to them."""
