"""A result store in a folder of files."""
