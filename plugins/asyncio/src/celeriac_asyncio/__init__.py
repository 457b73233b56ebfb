"""The pool that runs coroutines side by side on one event loop."""
