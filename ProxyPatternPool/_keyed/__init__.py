"""`AsyncKeyedPool`: one shared instance per set of arguments, with a pure state machine and a driver of its own."""
