"""Grafana lets in who has an account, and calls nobody."""

from collections.abc import Iterator, Mapping

from berth_policy.checks import Said, of_each, of_stack
from berth_policy.kubernetes import KUBERNETES, Container, Pod
from berth_policy.reading import said
from berth_policy.rule import IN_CLOUDS, Rule
from berth_policy.subject import mapping, sequence

_WANTED: Mapping[str, bool] = {
    "GF_AUTH_ANONYMOUS_ENABLED": False,
    "GF_USERS_ALLOW_SIGN_UP": False,
    "GF_ANALYTICS_REPORTING_ENABLED": False,
    "GF_ANALYTICS_CHECK_FOR_UPDATES": False,
    "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": False,
    "GF_SECURITY_DISABLE_GRAVATAR": True,
    "GF_PLUGINS_PREINSTALL_DISABLED": True,
}
"""Settings of conf/defaults.ini (Grafana 12), as its own variables name them."""
_CLOSED = frozenset({"GF_AUTH_ANONYMOUS_ENABLED", "GF_USERS_ALLOW_SIGN_UP"})
"""Off by default: what is not said is as it should be."""
_PASSWORD = ("GF_SECURITY_ADMIN_PASSWORD", "GF_SECURITY_ADMIN_PASSWORD__FILE")


def look(_pod: Pod, container: Container) -> Iterator[Said]:
    """Look at the variables of one container, if it is Grafana's."""
    given = {
        str(mapping(one).get("name")): one
        for one in sequence(container.body.get("env"))
        if str(mapping(one).get("name")).startswith("GF_")
    }
    if not given:
        return
    for name, wanted in _WANTED.items():
        value = mapping(given.get(name)).get("value")
        if (value is None or value == "") and name in _CLOSED:
            continue
        if str(value).lower() != str(wanted).lower():
            yield f"{container.path}: {name} is {said(value)}", repr(str(wanted).lower())
    if not any(mapping(given.get(one)).get(key) for one in _PASSWORD for key in ("value", "valueFrom")):
        yield f"{container.path} names no administrator's password, so it is admin", _PASSWORD[1]


RULE = Rule(
    name="grafana-closed",
    group="supply_chain",
    title="Grafana lets in who has an account, and tells nobody outside that it runs.",
    why=(
        "Dashboards show prompts' sizes, names of keys and costs; left as it comes, it reports to its "
        "makers, asks for updates and plugins, and has the password admin."
    ),
    fix="Set its GF_ variables, and the password from a Secret.",
    levels=IN_CLOUDS,
    types=KUBERNETES,
    check_stack=of_stack(of_each(look)),
)
