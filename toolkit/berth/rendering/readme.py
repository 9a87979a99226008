"""What a rendered folder says of itself: what it needs, what is not in it, what is still open."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .collect import Collected
    from .secrets import Needed, Secrets

_HOW = {
    "yaml": "Apply it with Argo CD or Flux (both read kustomization.yaml), or by hand, in this order:\n\n"
    "    kubectl apply --server-side -k .\n",
    "helm": "Install it with Helm:\n\n    helm upgrade --install {release} {where} --namespace {release} "
    "--create-namespace\n",
}


def readme(
    collected: Collected,
    needed: Mapping[str, tuple[Needed, ...]],
    secrets: Secrets,
    form: str,
    chart: str = "",
) -> str:
    """The text of README.md; the same input gives the same bytes."""
    several = len(collected.clusters) > 1
    lines = [
        f"# Stack {collected.stack} of project {collected.project}",
        "",
        "Rendered by `berth render`. Edit the stack, not these files: rendering again replaces them.",
        "",
    ]
    if several:
        lines += [
            "One folder for each cluster: " + ", ".join(f"`{name}/`" for name in collected.clusters),
            "",
        ]
    lines += [_HOW[form].format(release=chart, where="<cluster>" if several else "."), ""]
    lines += [*_secrets(needed, secrets, several=several), *_open(collected), *_not_in(collected)]
    return "\n".join(lines).rstrip("\n") + "\n"


def _secrets(needed: Mapping[str, tuple[Needed, ...]], secrets: Secrets, *, several: bool) -> list[str]:
    lines = ["## Secrets", ""]
    if not any(needed.values()):
        return [*lines, "None.", ""]
    for cluster, found in needed.items():
        for one in found:
            lines.append(f"- {_code(one.title)}" + (f" on {cluster}" if several else ""))
            if one.remote:
                lines.append(f"  from {_code(one.remote)} in {secrets.store_kind} `{secrets.store}`")
    how = {
        "existing": "Make them before the workloads start; no value of them is in these files.",
        "external": "The External Secrets Operator makes them; no value of them is in these files.",
    }
    return [*lines, "", how[secrets.form], ""]


def _open(collected: Collected) -> list[str]:
    if not collected.images and not collected.findings:
        return []
    return [
        "## Open",
        "",
        "What depends on these cannot run before they are answered:",
        "",
        *(f"- {finding}" for finding in collected.findings),
        *(f"- {title} has the placeholder image {_code(image)}" for title, image in collected.images),
        "",
    ]


def _not_in(collected: Collected) -> list[str]:
    if not collected.left_out:
        return []
    reasons: dict[str, list[str]] = {}
    for one in collected.left_out:
        reasons.setdefault(one.reason, []).append(f"- `{one.type}` {one.name}")
    lines = ["## Not in these files", ""]
    for reason, names in sorted(reasons.items()):
        lines += [f"{reason[0].upper()}{reason[1:]} ({len(names)}):", "", *names, ""]
    return lines


def _code(text: str) -> str:
    return f"`{text}`"
