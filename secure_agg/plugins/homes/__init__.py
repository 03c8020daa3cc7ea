"""What a node and a server keep on their own disks, and believe.

``client`` is a node's home and ``server`` the server's, ``folder`` what both are; ``federation`` makes all of one
federation, ``simulated`` those of one that lives for one run. ``proposals`` change it, ``offers`` are those that lie
open at a server. ``journal`` is of the attempt under way, ``chain`` of the models so far, ``kept`` the server's last
model with its names, ``own`` what a node's app keeps of rounds that count, ``tenants`` which node uses a home,
``standing`` homes that stay open between two messages.
"""
