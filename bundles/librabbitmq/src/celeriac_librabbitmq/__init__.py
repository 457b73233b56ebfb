"""Celeriac on RabbitMQ, over the C library rabbitmq-c."""
