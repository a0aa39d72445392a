"""The record of every weight change and every change of phase, in SQLite or PostgreSQL. The one user of SQLAlchemy.

`HistoryWriter` records, from a thread of its own that is never in the way; `Reader` reads, page by page; `api` serves
that over HTTP, where `HttpSource` of `remote` asks for it; `retention` and `backup` are for those who look after the
database. What they tell and take are the plain records of `model`.
"""
