"""The command line: runs the operator, renders a Kanary, shows the history, compares revisions and restores one.

Each command loads only the modules that it needs. For the history, `access` loads SQLAlchemy or the cluster client,
whichever the source needs.
"""
