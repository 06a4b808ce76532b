"""Serve the application: ``python -m examples.fastapi_app.serve --database bank.db``, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse

from examples.bank import ledger
from examples.fastapi_app.app import create_app
from examples.fastapi_app.database import Connector, per_request, pooled
from examples.harness.asgi import serve


def main() -> None:
    """Serve until told to stop, then close the connections."""
    options = parse_options()
    ledger.create(options.database)
    open_database = per_request if options.per_request else pooled(options.max_size)
    serve(create_app(Connector(options.database), open_database), options.port)


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m examples.fastapi_app.serve", description="Serve a small bank.")
    parser.add_argument("--database", required=True, metavar="FILE", help="SQLite file, made if it does not exist")
    parser.add_argument("--port", type=int, default=0, help="0: any that is free (default)")
    parser.add_argument("--max-size", type=int, default=10, help="connections in the pool (default %(default)s)")
    parser.add_argument("--per-request", action="store_true", help="no pool: a connection for each request")
    return parser.parse_args()


if __name__ == "__main__":
    main()
