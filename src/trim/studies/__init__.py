"""Audits of scorers and ablations of routers; each ends in a report with a verdict."""
