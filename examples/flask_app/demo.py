"""The demonstration: ``python -m examples.flask_app.demo``, or ``make demo``."""

from __future__ import annotations

import sys

from examples.bank.demo import Application, main
from examples.flask_app.serve import THREADS

APPLICATION = Application(
    "examples.flask_app.serve",
    f"{THREADS} threads in the server",
    "SQLite opens a connection in microseconds: what a pool saves in time with a server, it cannot show.",
)

if __name__ == "__main__":
    sys.exit(main(APPLICATION))
