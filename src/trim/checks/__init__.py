"""`trim check`: checks of the models and scorers of a configuration."""
