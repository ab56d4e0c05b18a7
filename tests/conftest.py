"""Settings of all tests."""

from hypothesis import settings

# A busy machine may hold up any example.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
