"""The gateway: `python3 -m berth_serving.gateway`."""
