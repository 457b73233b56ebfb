"""Frozen records and the wire format, without input or output."""
