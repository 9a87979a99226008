"""The berth command: deployer, local cluster, operations."""
