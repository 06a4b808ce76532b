"""`Pool`: the core under one lock.

Callers park, user functions run without the lock, and a worker thread does what no caller waits for.
"""
