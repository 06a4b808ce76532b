"""Processes, greenlets and servers, for real."""
