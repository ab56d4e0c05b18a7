"""From two models to a configuration that works: `trim init`."""
