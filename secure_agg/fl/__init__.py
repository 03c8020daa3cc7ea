"""Federated learning on top of secure rounds.

* ``layers``: which arrays of a model are averaged, and the steps between models.
* ``torch_state``: PyTorch's state dicts. ``model_files``: models in files, and their digests.
* ``model_match``: which model of a round somebody holds.
* ``server_optimizers``: what a server makes of a mean.
* ``algorithms``: what clients send and what everybody makes of the mean, from FedAvg to SCAFFOLD.
* ``partitions``: data that is split over clients as in a federation.
* ``fedavg``, ``datasets``: training by FedAvg, on data that need no network; for demos.

Nothing here is imported by ``import secure_agg``; ``fedavg``, ``datasets`` and ``torch_state`` need the extra ``demo``,
and ``datasets.mnist`` the extra ``examples``.
"""
