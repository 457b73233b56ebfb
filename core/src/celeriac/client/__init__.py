"""The client: the app, its tasks, publishing and results."""
