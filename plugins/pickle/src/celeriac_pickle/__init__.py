"""The pickle serializer."""
