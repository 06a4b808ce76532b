"""A small bank, whatever serves it: its file and the audit of that, what its clients ask for, the demonstration.

The applications are elsewhere, `examples.flask_app` for one. On purpose nothing here knows of pools and proxies: it
checks what the applications have done with them.
"""
