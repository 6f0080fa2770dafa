"""The agent's unix socket: what it serves, who reads it, and the verdicts it keeps."""
