"""What puts the applications under load: server processes, and the clients that send them real requests.

It knows nothing of pools, and nothing of what the applications do.
"""
