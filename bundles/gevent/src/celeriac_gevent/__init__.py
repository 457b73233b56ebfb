"""The pool of greenlets of gevent."""
