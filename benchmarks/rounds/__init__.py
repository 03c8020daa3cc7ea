"""The suite ``rounds``: the matrix of whole rounds, each cell in processes of its own."""
