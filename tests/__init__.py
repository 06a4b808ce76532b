"""The tests, one file for each module of the library."""
