"""A small bank: a Flask application whose blueprints import their database before it exists.

Copy these:

- ``database``: the proxy ``db``, and how an application sets it;
- ``accounts`` and ``transfers``: blueprints which read and write through it;
- ``monitoring``: the statistics of the pool, as a page;
- ``app``: the application factory.

The others are there for the demonstration, ``python -m examples.flask_app.demo``: ``ledger`` makes the database file
and audits it, ``per_request`` is what the pool is compared with, ``serve`` serves the application in a process of its
own, ``load`` is its clients, ``report`` says what came of it.
"""
