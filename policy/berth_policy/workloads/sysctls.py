"""Pods change only kernel settings that are safe."""

from collections.abc import Iterator

from berth_policy.checks import Said, of_stack
from berth_policy.kubernetes import KUBERNETES, Pod
from berth_policy.rule import Rule
from berth_policy.subject import at, mapping, sequence

SAFE = frozenset(
    {
        *("kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start"),
        *("net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports"),
        *("net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl"),
        *("net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"),
    }
)


def look(pod: Pod) -> Iterator[Said]:
    """Look at one pod."""
    for number, sysctl in enumerate(sequence(at(pod.spec, "securityContext", "sysctls"))):
        name = mapping(sysctl).get("name")
        if str(name) not in SAFE:
            yield f"{pod.path}.securityContext.sysctls[{number}] is {name}", "a safe sysctl, or none"


RULE = Rule(
    name="pods-sysctls",
    group="workloads",
    title="Pods set only sysctls that Kubernetes calls safe.",
    why="Others act on the whole node, or let a pod harm it.",
    fix="Remove the sysctl from securityContext.sysctls.",
    types=KUBERNETES,
    check_stack=of_stack(look, agents=True),
)
