"""Trials of the parts of a configuration, before anything relies on them."""
