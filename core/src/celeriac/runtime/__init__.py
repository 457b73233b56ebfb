"""The worker: one role per file."""
