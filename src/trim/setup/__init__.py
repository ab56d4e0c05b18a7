"""`trim init`: a configuration for two models."""
