"""Evaluation, collection and serving on a Ray cluster."""
