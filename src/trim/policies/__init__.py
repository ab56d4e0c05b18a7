"""Routers: one policy a file."""
