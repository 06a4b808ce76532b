"""Pools of expensive objects, and proxies that can be imported before their object exists."""

from ProxyPatternPool._errors import PoolClosed, PoolException, PPPException, ProxyException, TimeOut
from ProxyPatternPool._pool import Pool
from ProxyPatternPool._proxy import Proxy

__all__ = ["PPPException", "Pool", "PoolClosed", "PoolException", "Proxy", "ProxyException", "TimeOut"]
__version__ = "26.11.0"
