"""The names of what the adapter answers for; whoever only needs those imports nothing else."""

METRICS = ("berth_queue_depth", "berth_running_requests")
