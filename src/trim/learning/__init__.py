"""Fits policies to solved problems."""
