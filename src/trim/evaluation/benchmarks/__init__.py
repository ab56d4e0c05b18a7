"""Published data sets, and any file of problems with answers."""
