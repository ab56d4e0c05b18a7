"""The database: keys, spending and traffic."""
