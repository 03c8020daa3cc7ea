"""Documents whose commands are run: ``machines`` has folders in the place of machines."""
