"""Federated learning on top of secure rounds: data sets split over clients, FedAvg, and PyTorch state dicts.

Nothing here is imported by ``import secure_agg``: it needs the extra ``demo`` (torch, scikit-learn).
"""
