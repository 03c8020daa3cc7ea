"""Anchoring a ledger's rounds on a chain with Ethereum's precompiles (extra ``evm``). See docs/anchor.md.

* ``statement``: what contract and verifiers share: packing, entries, points of evaluation.
* ``registration``: what the contract is given, made from a round's evidence.
* ``registry``: the contract's client; ``node``: the chain it speaks to.
* ``registry.vy`` and the modules beside it: the contract; ``registry.json``: compiled, by ``compile``.
"""
