"""Transport, result store and coordinator in one SQLite database."""
