"""``secure-agg demo``: federated training on real data, with a tampering aggregator or a poisoned client.

* ``demo``: the command. ``experiment``: what it measures, ``report`` what it prints, ``chart`` its picture.
* ``tamper``: the aggregator that alters a sum, for ``--tamper``.
* ``poison``, ``poison_report``, ``poison_chart``: the same three for ``--poison``.
"""
