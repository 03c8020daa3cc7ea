"""A Flower app that measures rounds: ``client_app`` trains for a given time, ``server_app`` writes down when it did."""
