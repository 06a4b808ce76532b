"""A small bank: a FastAPI application with a pool of connections to SQLite in its lifespan.

Copy these:

- ``database``: the pool, and what it lends;
- ``app``: the application factory, and what becomes of errors;
- ``accounts`` and ``transfers``: what reads, and what writes;
- ``hang_up``: a middleware which stops the work for a client that has gone.

The others are there for the demonstration, ``make demo APP=fastapi``: ``serve`` serves the application in a process of
its own, `examples.bank` has the database file, and what the clients want, `examples.harness` has the clients.
"""
