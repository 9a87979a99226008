"""One typed stack per environment."""
