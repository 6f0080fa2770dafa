"""What a running container's stop signal would meet, before anybody sends it. Pure."""
