"""The HAProxy pods of one Kanary: what the cluster says of each, what each reports, and what follows for all."""
