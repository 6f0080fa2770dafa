"""What container runtimes tell over their local sockets: names, pods, grace periods, main processes."""
