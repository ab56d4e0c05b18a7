"""Scorers of steps behind one interface."""
