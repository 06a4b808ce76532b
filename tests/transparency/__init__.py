"""Proxies against the objects that they stand for."""
