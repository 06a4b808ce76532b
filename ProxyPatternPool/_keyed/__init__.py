"""`AsyncKeyedPool`: one shared instance per arguments, with a pure state machine and a driver of its own."""
