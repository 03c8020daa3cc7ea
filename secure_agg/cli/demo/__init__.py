"""``secure-agg demo``: federated training on real data, with a tampering aggregator or a poisoned client.

* ``demo``: the command. ``experiment``: what it measures, ``report`` what it prints, ``chart`` its picture.
* ``costs``: what protection cost, beside plain averaging. ``tamper``: the aggregator that alters a
  sum, for ``--tamper``.
* ``influence``, ``influence_report``: for ``--poison``, what a light site can do, and what a proved norm bound leaves.
* ``poison``, ``poison_report``, ``poison_chart``: the same with what parties compute on shares.
"""
