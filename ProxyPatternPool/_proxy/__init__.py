"""The public proxies: how one is set and replaced.

A proxy delegates "be like the object" to `_transparency` and "whose object" to `_scopes`.
"""
