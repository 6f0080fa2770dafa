"""Where there is no BPF: signals by ptrace(2), processes by the proc connector or /proc."""
