"""The suite ``he``: homomorphic backends and what they are made of, beside TenSEAL and ``phe`` themselves."""
