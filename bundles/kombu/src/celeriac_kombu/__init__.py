"""Celeriac on what kombu reaches."""
