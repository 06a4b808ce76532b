"""The pool for event loops."""
