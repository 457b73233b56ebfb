"""Celeriac on Redis and Valkey."""
