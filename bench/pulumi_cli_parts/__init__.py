"""What `bench/pulumi_cli.py` builds and needs beside it."""
