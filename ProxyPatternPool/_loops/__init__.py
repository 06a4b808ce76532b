"""Everything that lives as long as an event loop.

That is: tasks that cancel-all does not reach, the contexts that they hold open, and the functions that run when the
loop ends.
"""
