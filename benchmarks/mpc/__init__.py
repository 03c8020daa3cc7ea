"""The suite ``mpc``: shared aggregation, beside CrypTen itself."""
