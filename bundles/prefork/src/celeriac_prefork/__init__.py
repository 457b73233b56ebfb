"""The pool of child processes."""
