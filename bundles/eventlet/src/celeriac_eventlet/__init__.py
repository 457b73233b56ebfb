"""The pool of greenlets of eventlet."""
