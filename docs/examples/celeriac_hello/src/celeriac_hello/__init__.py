"""Greets when a Celeriac worker comes and goes."""
