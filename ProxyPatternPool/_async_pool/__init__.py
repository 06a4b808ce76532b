"""`AsyncPool`: the same core in an event loop, without a lock.

Callers wait for one future; user functions run in tasks of the pool's own.
"""
