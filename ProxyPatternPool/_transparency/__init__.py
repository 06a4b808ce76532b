"""The type that a proxy takes on.

This folder knows Python's data model, and nothing of pools or scopes.
"""
