"""Serve the application: ``python -m examples.flask_app.serve --database bank.db``, until SIGTERM or Ctrl-C.

Its first line of output is ``{"port": 12345}``: it listens there, on 127.0.0.1. Everything else goes to stderr.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import threading

from flask import Flask
from waitress import create_server, wasyncore

from examples.bank import ledger
from examples.flask_app import database, per_request
from examples.flask_app.app import create_app

#: Threads that handle requests: more than there are connections, which is the point of the pool.
THREADS = 16


def main() -> None:
    """Serve until told to stop, then close the connections."""
    options = parse_options()
    ledger.create(options.database)
    app = create_app({"DB_PATH": options.database, "DB_MAX_SIZE": options.max_size}, options.init_database)
    try:
        serve(app, options.port)
    finally:
        database.shutdown()


def serve(app: Flask, port: int) -> None:
    """Serve the application in `THREADS` threads until told to stop; then finish what is being handled, and return."""
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # more clients than threads is normal here
    channels: dict[int, object] = {}
    server = create_server(
        app,
        map=channels,
        host="127.0.0.1",
        port=port,
        threads=THREADS,
        connection_limit=10_000,
        asyncore_use_poll=True,  # select() ends at 1,024 files
    )
    told = threading.Event()

    def stop(_signal: int, _frame: object) -> None:
        told.set()  # an exception would be lost where it hits code that goes on after any: waitress has some
        server.pull_trigger()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    print(json.dumps({"port": int(server.effective_port)}), flush=True)
    while not told.is_set():
        wasyncore.loop(timeout=1.0, use_poll=True, map=channels, count=1)
    server.task_dispatcher.shutdown()
    server.close()


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m examples.flask_app.serve", description="Serve a small bank.")
    parser.add_argument("--database", required=True, metavar="FILE", help="SQLite file, made if it does not exist")
    parser.add_argument("--port", type=int, default=0, help="0: any that is free (default)")
    parser.add_argument("--max-size", type=int, default=10, help="connections in the pool (default %(default)s)")
    parser.add_argument(
        "--per-request",
        dest="init_database",
        action="store_const",
        const=per_request.init_app,
        default=database.init_app,
        help="no pool: a connection for each request",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
