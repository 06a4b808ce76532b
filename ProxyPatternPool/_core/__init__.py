"""The pure state machine of `Pool` and `AsyncPool`: no lock, clock, log or user code.

It imports nothing but the exceptions.
"""
