"""The state machine, by value and against a naive model."""
