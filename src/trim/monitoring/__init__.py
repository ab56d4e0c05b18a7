"""Runtime checks that a router still behaves as its calibration promised."""
