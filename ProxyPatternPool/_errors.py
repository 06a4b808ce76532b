"""Every exception of the library, in one tree under `PPPException`; and what it adds to those of others."""

from contextlib import suppress


class PPPException(Exception):
    """The base of all exceptions raised by ProxyPatternPool itself."""


class ProxyException(PPPException):
    """A proxy that is not set, or is set in a way that cannot work."""


class PoolException(PPPException):
    """A pool was asked for something that it cannot do."""


class PoolClosed(PoolException):
    """The pool has been shut down: no object can be had from it any more."""


class PoolFull(PoolException):
    """`max_waiting` callers are waiting already."""


class TimeOut(PoolException, TimeoutError):
    """No object came back within the time allowed."""


class IllegalMove(PPPException, RuntimeError):
    """A slot was asked to do what its state does not allow; nothing has changed. A bug of a driver, never of a user."""


for _public in (PPPException, ProxyException, PoolException, PoolClosed, PoolFull, TimeOut):
    _public.__module__ = "ProxyPatternPool"  # so that a traceback names what a program can import


def note_once(error: BaseException, note: str, detail: str = "") -> None:
    """Note something on an exception of user code; once, for the same one may be raised again and again.

    What differs from one time to the next is its detail.
    """
    with suppress(Exception):  # an exception that takes no notes is more important than our note
        if not any(known.startswith(note) for known in getattr(error, "__notes__", ())):
            error.add_note(note + detail)
