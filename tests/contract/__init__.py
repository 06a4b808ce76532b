"""One suite over `Pool` and `AsyncPool`."""
