"""Warnings at run time: whether a router still does what its calibration promised."""
