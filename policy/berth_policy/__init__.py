"""What must not ship: a CrossGuard policy pack for model servers on Kubernetes, AWS and Google Cloud."""
