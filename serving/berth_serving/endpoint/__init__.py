"""Gateway and engine in one container, as managed clouds run a model: `python3 -m berth_serving.endpoint`."""
