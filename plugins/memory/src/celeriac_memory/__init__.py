"""Transport, result store and coordinator inside one process."""
