"""Role *client*.

``client`` is the state machine; ``invitation`` the first request and what is checked of it, ``committing`` from an
update to a committed vector, ``result`` the last message.
"""
