"""Configuration files: models, scorers, routing, prices and server settings."""
