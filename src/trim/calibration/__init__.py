"""Settings that keep a promise, chosen from a bank."""
