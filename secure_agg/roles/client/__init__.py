"""Role *client*.

``client`` joins a round and ends it; ``joined`` is all that exists in between, and answers requests. ``invitation``
is the first request and what is checked of it, ``committing`` goes from an update to a committed vector, ``proving``
to the proof that it is short where a norm is bounded, ``sets`` reads who is in a session and in the set that is put
to the vote, ``result`` is the last message. ``shared`` is for simulations: what clients of one process have checked
for each other.
"""
