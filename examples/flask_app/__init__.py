"""A small bank: a Flask application whose blueprints import their database before it exists.

Copy these:

- ``database``: the proxy ``db``, and how an application sets it;
- ``accounts`` and ``transfers``: blueprints which read and write through it;
- ``monitoring``: the statistics of the pool, as a page;
- ``app``: the application factory.

The others are there for the demonstration, ``python -m examples.flask_app.demo``: ``per_request`` is what the pool is
compared with, ``serve`` serves the application in a process of its own. `examples.bank` has the database file, and what
the clients want; `examples.harness` has the clients.
"""
