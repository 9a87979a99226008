"""What only another place can answer: placeholders that block a real run."""
