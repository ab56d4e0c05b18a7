"""The command line interface."""

from trim.cli.main import main

__all__ = ["main"]
