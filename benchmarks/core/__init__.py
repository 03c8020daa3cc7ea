"""The suite ``core``: what verification costs a client and an aggregator, kernel by kernel."""
