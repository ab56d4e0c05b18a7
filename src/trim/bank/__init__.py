"""Recorded decisions: what both models write at every step, and where each choice leads."""
