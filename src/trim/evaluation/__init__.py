"""Measuring routers: suites, runs, metrics, reports."""
