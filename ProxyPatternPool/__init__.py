"""Pools of expensive objects, and proxies that can be imported before their object exists."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ProxyPatternPool._config import Default
from ProxyPatternPool._core.stats import Duration, LeaseInfo, ObjectInfo, PoolStats
from ProxyPatternPool._errors import PoolClosed, PoolException, PoolFull, PPPException, ProxyException, TimeOut
from ProxyPatternPool._proxy.proxy import Proxy, transparent
from ProxyPatternPool._threads.lease import Lease
from ProxyPatternPool._threads.pool import Pool

if TYPE_CHECKING:
    from ProxyPatternPool import loop_local
    from ProxyPatternPool._async_pool.lease import AsyncLease
    from ProxyPatternPool._async_pool.pool import AsyncPool
    from ProxyPatternPool._keyed.lease import KeyedLease
    from ProxyPatternPool._keyed.pool import AsyncKeyedPool
    from ProxyPatternPool._keyed.stats import KeyedStats
    from ProxyPatternPool._proxy.async_proxy import AsyncProxy

__all__ = [
    "AsyncKeyedPool",
    "AsyncLease",
    "AsyncPool",
    "AsyncProxy",
    "Default",
    "Duration",
    "KeyedLease",
    "KeyedStats",
    "Lease",
    "LeaseInfo",
    "ObjectInfo",
    "PPPException",
    "Pool",
    "PoolClosed",
    "PoolException",
    "PoolFull",
    "PoolStats",
    "Proxy",
    "ProxyException",
    "TimeOut",
    "loop_local",
    "transparent",
]
__version__ = "26.11.0"

#: Public names that need asyncio, and their modules.
_NEEDS_ASYNCIO = {
    "AsyncKeyedPool": "_keyed.pool",
    "KeyedLease": "_keyed.lease",
    "KeyedStats": "_keyed.stats",
    "AsyncLease": "_async_pool.lease",
    "AsyncPool": "_async_pool.pool",
    "AsyncProxy": "_proxy.async_proxy",
}


def __getattr__(name: str) -> Any:
    """Import the names that need asyncio at their first use: a program without an event loop does not pay for it."""
    if name == "loop_local":
        return import_module("ProxyPatternPool.loop_local")  # the import sets the attribute
    if name not in _NEEDS_ASYNCIO:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"ProxyPatternPool.{_NEEDS_ASYNCIO[name]}"), name)
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
