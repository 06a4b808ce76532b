"""The example applications, and programs of earlier releases."""
