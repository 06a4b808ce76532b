"""The exceptions of the library, in one tree under `PPPException`, and the notes that it adds to other exceptions."""

from contextlib import suppress


class PPPException(Exception):
    """A base of all exceptions that ProxyPatternPool itself raises."""


class ProxyException(PPPException):
    """A misuse of a proxy: it is not set, or it is set or used in a way that cannot work."""


class PoolException(PPPException):
    """A request that a pool cannot fulfil, and the base of all exceptions of pools."""


class PoolClosed(PoolException):
    """A request to a pool that has been shut down: it does not lend objects any more."""


class PoolFull(PoolException):
    """A request to a pool for which `max_waiting` callers are waiting already."""


class TimeOut(PoolException, TimeoutError):
    """A request for which no object was available within the time allowed. It is also a `TimeoutError`."""


class IllegalMove(PPPException, RuntimeError):
    """A step that a slot's state does not allow. It has changed nothing.

    A driver that lets it reach the program has a bug. `NotLeased` and `AlreadyPooled` are the two that drivers expect:
    a program has returned an object twice, or `fun` has made one object twice.
    """


#: The `__module__` of public classes: a traceback, `help` and a pickle name what a program can import.
PUBLIC = "ProxyPatternPool"

for _public in (PPPException, ProxyException, PoolException, PoolClosed, PoolFull, TimeOut):
    _public.__module__ = PUBLIC


def note_once(error: BaseException, note: str, detail: str = "") -> None:
    """Add a note to an exception of user code, once: the same exception object may be raised again and again.

    `detail` follows the note, and may differ from call to call. Only the first call counts.
    """
    with suppress(Exception):  # an exception that does not accept notes is more important than the note
        if not any(known.startswith(note) for known in getattr(error, "__notes__", ())):
            error.add_note(note + detail)
