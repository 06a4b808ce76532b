"""Real connections for programs under test: what they pool, and a server that remembers what came over each."""

from __future__ import annotations

import itertools
import os
import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

REPOSITORY = Path(__file__).parents[2]

#: The variable that tells a program where the server is.
PORT = "TESTS_WIRE_PORT"


class Server:
    """Listens at a free port for the time of a ``with`` block."""

    def __init__(self) -> None:
        self.heard: dict[str, str] = {}  # what each connection has said so far, words ending with a blank
        self.ended: set[str] = set()
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=100)

    def __enter__(self) -> Self:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)  # ends the waiting in `_serve`, which closing alone does not
        self._socket.close()

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables that a program needs to connect, and to import this module."""
        return {**os.environ, PORT: str(self._socket.getsockname()[1]), "PYTHONPATH": str(REPOSITORY)}

    def of(self, pid: int) -> dict[str, str]:
        """Return what the connections of that process have said."""
        return {name: words for name, words in list(self.heard.items()) if name.startswith(f"{pid}-")}

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._listen, args=(connection,), daemon=True).start()

    def _listen(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines:
            name = lines.readline().decode().strip()
            assert name not in self.heard
            self.heard[name] = ""
            connection.sendall(b"!")
            for line in lines:
                self.heard[name] += line.decode().replace("\n", " ")
            self.ended.add(name)


_serial = itertools.count()  # several pools of a process may each have a number 0


class Connection:
    """A connection to pool. Its name has the number of its process; its last word is good-bye, or that it was lost."""

    def __init__(self, number: int) -> None:
        self.name = f"{os.getpid()}-{next(_serial)}-{number}"
        self._socket = socket.create_connection(("127.0.0.1", int(os.environ[PORT])))
        self.say(self.name)
        self._socket.recv(1)  # from now on the server knows it

    def say(self, word: str) -> None:
        """Let the server hear it."""
        self._socket.sendall(f"{word}\n".encode())

    def close(self, last: str = "bye") -> None:
        """End it, unless it has been ended."""
        if self._socket.fileno() >= 0:
            self.say(last)
            self._socket.close()

    def __del__(self) -> None:
        self.close("lost")
