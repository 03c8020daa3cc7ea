"""The suite ``ledger``: appends, proofs and gas."""
