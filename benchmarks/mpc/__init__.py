"""The suite ``mpc``: shared aggregation, beside CrypTen itself.

``suite`` is the order of its rows, ``options`` what it is run with. ``client``, ``round`` and ``memory`` measure
backend ``additive``, ``processes`` its operators as processes, ``functions`` those of ``crypten``; ``peer`` is
CrypTen's usual way.
"""
