"""Containers made of namespaces and cgroups, and the failure scenarios that the demo and the kernel tests run."""
