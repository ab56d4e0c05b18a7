"""Evaluations and banks on a Ray cluster."""
