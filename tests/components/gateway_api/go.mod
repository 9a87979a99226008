// Whose definitions judge routers' entrances: tests/components/test_real_api.py.
module berth.dev/tests/gateway-api

go 1.25.0

require sigs.k8s.io/gateway-api v1.6.1
