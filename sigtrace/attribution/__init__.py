"""From a cgroup id to the workload whose it is."""
