"""Configuration files: which models a run uses, what scores them, and how it routes."""
