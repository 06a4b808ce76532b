"""The pool of shared instances."""
