"""The record of what happened to Kanaries, in SQLite or PostgreSQL. The one user of SQLAlchemy.

`HistoryWriter` records entries from a thread of its own, so that nothing waits for it; `Reader` reads page by page, and
`HttpSource` of `remote` reads the same from an operator over HTTP; `retention` and `backup` maintain the database.
"""
