"""Celeriac on RabbitMQ."""
