"""The demonstration: ``python -m examples.fastapi_app.demo``, or ``make demo APP=fastapi``.

Some of the clients lose their patience, and go in the middle of a request.
"""

from __future__ import annotations

import sys

from examples.bank.calls import choose_impatiently
from examples.bank.demo import Application, main

APPLICATION = Application(
    "examples.fastapi_app.serve",
    "an event loop in the server",
    "Each connection has a thread of its own, in which its statements run: SQLite itself knows nothing of event loops.",
    choose_impatiently,
)

if __name__ == "__main__":
    sys.exit(main(APPLICATION))
