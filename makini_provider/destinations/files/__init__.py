"""The files destination: immutable data files and commits on any object store or local disk."""
