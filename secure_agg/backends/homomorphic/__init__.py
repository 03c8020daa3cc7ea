"""Homomorphic backends: clients encrypt under a key holder's public key, the aggregator adds ciphertexts."""
