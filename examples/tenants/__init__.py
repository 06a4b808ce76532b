"""A service with many banks, each of which has a database file of its own: a pool per tenant, and never too many.

Copy ``tenants``: the keyed pool of pools, and how a request comes to a connection of its tenant.

``app`` and ``serve`` make a service of it, from what `examples.fastapi_app` has: the same routes, once per tenant. The
tests put it under load. `examples.tenants_redis` is the same with a client per tenant in place of a pool.
"""
