"""What the command line does about the history: shows it, compares revisions, goes back to one, looks after it.

Modules here are loaded by the command that needs them. SQLAlchemy and the cluster client are loaded by `access` alone,
each only where the record is reached that way.
"""
