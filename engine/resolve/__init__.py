"""Validates a spec, and resolves its backends to Services and endpoints."""
