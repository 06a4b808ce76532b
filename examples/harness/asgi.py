"""Serve an ASGI application with uvicorn, as what starts it expects: see `examples.harness.server.Server`."""

from __future__ import annotations

import json
import signal
import socket
from typing import Any

import uvicorn


def serve(app: Any, port: int) -> None:
    """Serve the application until SIGTERM or Ctrl-C; then finish what is being handled, for 10 s at most, and return.

    The first line of output is ``{"port": 12345}``: it listens there, on 127.0.0.1. Everything else goes to stderr.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end_well)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=10))
    with socket.create_server(("127.0.0.1", port), backlog=1000) as listener:
        print(json.dumps({"port": listener.getsockname()[1]}), flush=True)  # who connects now waits in the backlog
        server.run(sockets=[listener])
    if not server.started:
        raise SystemExit("the application has not started")


def _end_well(_signal: int, _frame: object) -> None:
    """Do nothing: uvicorn has its own handlers while it runs, and raises the signal once more when it has finished."""
