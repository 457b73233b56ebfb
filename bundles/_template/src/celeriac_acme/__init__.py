"""Celeriac on Acme."""
