"""Servers, objects and loops that tests share."""
