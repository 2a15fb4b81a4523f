"""Federated learning: clients learn together and keep their data; what they learn is compiled for their devices."""

from graphopt.extras import optional_packages

with optional_packages():
    from graphopt.federated.aware import aware
    from graphopt.federated.client import Client
    from graphopt.federated.compression import Compression, Quantized, TopK
    from graphopt.federated.driver import federate
    from graphopt.federated.history import Dropped, Federated, FederatedHistory, Round
    from graphopt.federated.partition import dirichlet
    from graphopt.federated.privacy import Privacy
    from graphopt.federated.strategies import FedAdam, FedAvg, FedProx, Median, Strategy, TrimmedMean

__all__ = [
    "Client",
    "Compression",
    "Dropped",
    "FedAdam",
    "FedAvg",
    "FedProx",
    "Federated",
    "FederatedHistory",
    "Median",
    "Privacy",
    "Quantized",
    "Round",
    "Strategy",
    "TopK",
    "TrimmedMean",
    "aware",
    "dirichlet",
    "federate",
]
