"""Grows and shrinks the pool of a worker with the work that waits."""
