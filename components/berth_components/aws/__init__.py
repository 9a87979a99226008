"""Berth's components on AWS: clusters and node pools on EKS, identities of workloads, SageMaker endpoints."""
