"""Federated learning on top of secure rounds: data sets split over clients, FedAvg, PyTorch state dicts, and what
servers make of a mean.

Nothing here is imported by ``import secure_agg``: all but ``server_optimizers`` need the extra ``demo`` (torch,
scikit-learn).
"""
