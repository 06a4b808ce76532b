"""Serve the application: ``python -m examples.tenants_redis.serve --redis-port 6379``, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse

from examples.harness.asgi import serve
from examples.tenants_redis.app import create_app
from examples.tenants_redis.clients import Connector, make_clients


def main() -> None:
    """Serve until told to stop, then close the clients."""
    options = parse_options()
    connector = Connector(options.redis_port, options.password)
    serve(create_app(make_clients(connector, max_size=options.max_size, ttl=options.ttl)), options.port)


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m examples.tenants_redis.serve", description="Serve many tenants.")
    parser.add_argument("--redis-port", type=int, default=6379, help="on 127.0.0.1 (default %(default)s)")
    parser.add_argument("--password", default="", help="of every tenant: a real service has a vault of them")
    parser.add_argument("--port", type=int, default=0, help="0: any that is free (default)")
    parser.add_argument("--max-size", type=int, default=10, help="clients (default %(default)s)")
    parser.add_argument("--ttl", type=float, default=30.0, help="seconds that a client is kept (default %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
