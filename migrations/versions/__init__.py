"""The versions of the schema. They never change once they are released, and import nothing of the product."""
