"""Policies about routers: what their agents are told, against the rest of the plan."""
