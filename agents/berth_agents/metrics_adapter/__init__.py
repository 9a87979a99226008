"""The metrics adapter: queue depth and running requests of model servers, as an external metrics API.

An aggregated API server for `external.metrics.k8s.io/v1beta1`, one per cluster. A HorizontalPodAutoscaler
asks the API server, the API server asks the adapter (and proves itself with the front-proxy certificate), the
adapter asks the Ready gateways that carry `berth.dev/queue-metrics=true`, and the routers that carry `router`
there what they hold for models that sleep.
docs/decisions/0007-queue-signal.md says why it is this way and lists the permissions that its service account
needs.
"""
