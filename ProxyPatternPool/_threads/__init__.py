"""`Pool`: the core under one lock.

Waiting callers park. User functions run without the lock. A worker thread does the work that no caller waits for.
"""
