"""Engines that only pretend to compute, at stated speeds: what `make bench-serving` runs on."""
