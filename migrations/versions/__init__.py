"""The versions of the schema. They never change after a release, and import nothing of the product."""
