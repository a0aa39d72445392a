"""From what a spec names to what is there: validation, Services, endpoints."""
