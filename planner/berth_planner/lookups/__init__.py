"""Questions to clouds: the only part that uses a network, and only when it is called."""
