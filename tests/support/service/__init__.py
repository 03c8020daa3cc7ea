"""A service as a real process on loopback, members as threads or processes, and both killed on purpose."""
