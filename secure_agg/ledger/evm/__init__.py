"""Anchoring a ledger's rounds on a chain with Ethereum's precompiles (extra ``evm``). See docs/anchor.md.

* ``statement``: what contract and verifiers share: packing, entries, points of evaluation.
* ``registration``: what the contract is given, made from a round's evidence.
* ``reader``: what the contract holds, beside the evidence. ``registry``: its client. ``node``: the chain they speak to.
* ``registry.vy`` and the modules beside it: the contract; ``registry.json``: compiled, by ``compile``.
"""
