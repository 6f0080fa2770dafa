"""`sigtrace top`: what feeds its screens, and what runs them."""
