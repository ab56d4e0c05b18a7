"""Accuracy-cost metrics, curves and bootstrap intervals."""
