"""Everything that lives as long as an event loop.

A program that cancels all tasks does not reach the tasks of this folder. They hold contexts open. Functions that are
registered here run when the loop ends.
"""
