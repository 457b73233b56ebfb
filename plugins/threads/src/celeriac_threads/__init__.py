"""The pool of threads."""
