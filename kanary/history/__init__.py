"""The history of Kanaries, in SQLite or PostgreSQL. The only user of SQLAlchemy.

`HistoryWriter` writes entries in its own thread, so that no caller waits for the database. `Reader` reads page by page;
`HttpSource` in `remote` reads the same from an operator over HTTP. `retention` and `backup` maintain the database.
"""
