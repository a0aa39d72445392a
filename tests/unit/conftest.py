"""Settings of the property-based tests."""

from hypothesis import settings

# On a busy machine an example may be slow without being wrong.
settings.register_profile("kanary", deadline=None)
settings.load_profile("kanary")
