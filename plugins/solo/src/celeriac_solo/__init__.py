"""The pool that runs tasks one after the other in the main thread."""
