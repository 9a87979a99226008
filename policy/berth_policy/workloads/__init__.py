"""Policies about pods and what makes them."""

POD_SECURITY = (
    *("pods-app-armor", "pods-capabilities", "pods-host-namespaces", "pods-host-path", "pods-host-ports"),
    *("pods-host-process", "pods-privilege-escalation", "pods-privileged", "pods-probe-hosts"),
    *("pods-proc-mount", "pods-run-as-non-root", "pods-run-as-user", "pods-seccomp", "pods-selinux"),
    *("pods-sysctls", "pods-volume-types"),
)
"""Rules that make up Pod Security "restricted", together."""
