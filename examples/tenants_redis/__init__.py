"""A service with many tenants, each of which has its own user in a Redis: a client per tenant, and never too many.

Copy these:

- ``clients``: the keyed pool, and how a tenant's client is made and ended;
- ``app``: the application factory, and what becomes of errors.

``serve`` serves it in a process of its own: ``python -m examples.tenants_redis.serve``. The tests put it under load.
"""
