"""JSON serializer with the type markers of Celery's wire."""

from celeriac_json.markers import register_type

__all__ = ["register_type"]
