"""Algorithms of federated learning, by their papers' rules: what a client sends, and what everybody makes of the mean.

All that a round lets out is one mean, so an algorithm is told in two halves. On a client: what it adds to its
gradients, and what it sends of what training came to. For everybody: what the mean of that moves, by a pinned
``ServerOptimizer`` that nodes and auditors compute too. What a round moves is the *shared arrays*: the model and, for
SCAFFOLD and FedNova, what rides beside it in the same hidden vector.

    algorithm = create("SCAFFOLD", rate=0.05, scale=0.5)
    state, own = algorithm.begin(model), {name: () for name in clients}
    for round in range(rounds):
        done = {name: algorithm.local(state.shared, own[name], gradient[name], steps=10) for name in clients}
        updates = {name: each.update for name, each in done.items()}
        result = secure_agg.aggregate(updates, base_model=state.digest, ledger="rounds.db")
        state = algorithm.advance(state, result.average, share=len(result.participants) / len(clients))
        own |= {name: done[name].own for name in result.participants}

* ``algorithm``: what all have in common. ``averaging``: FedAvg, FedProx, FedAvgM, FedAdam, FedYogi, FedAdagrad.
  ``scaffold``, ``fednova``: of those names. ``named``: any of them by its name.
* ``descent``: local gradient descent, and how much of it a client has done.
* ``torch_gradients``: the same in a PyTorch loop of one's own.
* ``vectors``: named vectors with a weighting and a range of their own in one round. ``evaluation``: metrics as such.
* ``buffered``: FedBuff, over models of different age, and the models that its rounds lead to.
* ``training``: a whole training in one process. ``replay``: the models that a ledger's results lead to, for auditors.

Nothing here needs more than numpy but ``torch_gradients``.
"""
