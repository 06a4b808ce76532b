"""The pure state machine of every pool: no lock, clock, log or user code.

It imports nothing but the exceptions.
"""
