"""Every transport of kombu as one of Celeriac."""
