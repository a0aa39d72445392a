"""The HAProxy pods of one Kanary: the state and the report of each, and the progress of all."""
