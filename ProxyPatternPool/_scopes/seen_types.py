"""SeenTypes: the operations of a proxy's objects, as far as the objects that its function has made show them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import FunctionType, MethodType
from typing import Any

from ProxyPatternPool._errors import ProxyException
from ProxyPatternPool._scopes.provider import Provider, leads_to
from ProxyPatternPool._transparency.transparent_type import UNKNOWN, Shape, shape_of

#: Tools ask an object of these types for its code or its bases. A proxy has no answer while its owner has no object.
INTROSPECTED = (type, FunctionType, MethodType, partial)


class SeenTypes:
    """The types of the objects that `provider` has seen. The first object of each type shows its operations.

    `reshape` is called after each such discovery. It has the proxy take on the shape that its provider knows.
    """

    __slots__ = ("_classes", "_introspected", "_provider", "_reshape", "shape")

    def __init__(self, provider: Provider[Any], reshape: Callable[[Provider[Any]], None]) -> None:
        self._provider = provider
        self._reshape = reshape
        self.shape: Shape = UNKNOWN  # of all objects seen, joined
        self._classes: dict[type, type] = {}  # the `__class__` of the objects seen, by their types
        self._introspected = False  # whether one of these types is `INTROSPECTED`

    def see(self, obj: object) -> None:
        """Learn from an object of the provider. `ProxyException` if it is a proxy that leads to the provider itself."""
        if leads_to(obj, self._provider):
            raise ProxyException("a proxy cannot stand for itself: its fun has returned it")
        if type(obj) not in self._classes:
            self._introspected |= issubclass(type(obj), INTROSPECTED)
            shape = shape_of(obj)
            self.shape = shape.joined(self.shape) if self._classes else shape
            self.reshape()
            self._classes[type(obj)] = obj.__class__

    def reshape(self) -> None:
        """Have the proxy take on the shape that the provider knows, and what the provider says of its objects."""
        self._reshape(self._provider)

    def class_of_all(self, unknown: type) -> Any:
        """Return the class of the objects, see `Provider.class_of_all`."""
        classes = list(self._classes.values())  # a copy: another thread may be making the first object
        if self._introspected and not self._provider.has():
            return unknown
        return self._provider.cache.obj.__class__ if len(classes) > 1 else next(iter(classes), unknown)
