"""What flows through sigtrace: events, tasks, workloads, observations, findings. Standard library only."""
