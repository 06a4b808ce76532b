"""Serve the application: ``python -m examples.tenants.serve --directory banks``, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
from pathlib import Path

from examples.harness.asgi import serve
from examples.tenants.app import create_app
from examples.tenants.tenants import Tenants


def main() -> None:
    """Serve until told to stop, then close the databases."""
    options = parse_options()
    serve(create_app(Tenants(options.directory, max_size=options.max_size, ttl=options.ttl)), options.port)


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m examples.tenants.serve", description="Serve many small banks.")
    parser.add_argument("--directory", type=Path, required=True, help="where each tenant has a file, NAME.db")
    parser.add_argument("--port", type=int, default=0, help="0: any that is free (default)")
    parser.add_argument("--max-size", type=int, default=10, help="databases open (default %(default)s)")
    parser.add_argument("--ttl", type=float, default=30.0, help="seconds that one is kept open (default %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
