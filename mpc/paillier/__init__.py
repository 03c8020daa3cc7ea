"""Paillier's cryptosystem on vectors of small integers.

``paillier`` has keys and encryption, ``montgomery`` its arithmetic on all cores, ``packing`` vectors in slots,
``threshold`` keys that any t of their members decrypt with, ``weak`` what makes primes easy to find. Keys and
ciphertexts are those of stock phe, that is python-paillier: ``phe.PaillierPublicKey(public.n)``,
``phe.PaillierPrivateKey(phe_public, secret.p, secret.q)`` and ``phe.EncryptedNumber(phe_public, ciphertext)`` are the
same ones there.
"""
