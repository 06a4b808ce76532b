"""A middleware that cancels the handling of a request when its client has gone: nobody waits for the answer.

Without it, an ASGI server goes on for nobody, and keeps a connection from those who wait. With it, any ``await`` of the
application may be the last one: whoever borrows must give back whatever happens, which is what a pool's block does.
"""

from __future__ import annotations

import asyncio
from asyncio import FIRST_COMPLETED

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HangUp:
    """Wraps an application. It reads the body of a request, which must fit into memory, before the application does."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif (body := await _body(receive)) is not None:
            await _Handling(body, receive, send).run(self._app, scope)


class _Handling:
    """One request, and its client."""

    def __init__(self, body: bytes, receive: Receive, send: Send) -> None:
        self._body: bytes | None = body  # None: the application has had it
        self._gone = asyncio.ensure_future(receive())  # done when the client has gone, or has all of the answer
        self._send = send
        self._answered = False

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        """Run the application until it has finished, or nobody waits for its answer."""
        work = asyncio.ensure_future(app(scope, self._receive, self._forward))
        try:
            await asyncio.wait((work, self._gone), return_when=FIRST_COMPLETED)
        finally:
            if not self._answered:
                work.cancel()  # does nothing to what has finished
            self._gone.cancel()
            await asyncio.wait((work, self._gone))
        if not work.cancelled():
            work.result()

    async def _receive(self) -> Message:
        if self._body is None:
            await asyncio.wait((self._gone,))
            return {"type": "http.disconnect"}
        message = {"type": "http.request", "body": self._body, "more_body": False}
        self._body = None
        return message

    async def _forward(self, message: Message) -> None:
        self._answered = message["type"] == "http.response.body" and not message.get("more_body", False)
        await self._send(message)


async def _body(receive: Receive) -> bytes | None:
    """Read all of it; None when the client goes before that."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body
