"""Which object a proxy uses here and now: one for all, one per thread, task, greenlet or loop.

Each scope is a provider. The object that it hands out is cached where the caller finds it fastest, and the cache is
revoked when the lease ends.
"""
