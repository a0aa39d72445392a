"""The values that the engine works with, each built once and passed on whole."""
