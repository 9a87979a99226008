"""A model at a site that a router at another site reaches: its entrance there is what the router says."""

from berth_stacks.hybrid_settings import Beyond
from berth_stacks.settings import Gateway, Model, Service, Stack

HOSTNAME = "external-dns.alpha.kubernetes.io/hostname"


def entered(stack: Stack, site: str, key: str, model: Model) -> tuple[Model, str]:
    """A model as it is at a site, and the router that reaches it from another one, "" where none does."""
    for name, router in stack.routers.items():
        hybrid = router.hybrid
        if hybrid and hybrid.beyond and hybrid.model == key and site in {*hybrid.sites} - {router.site}:
            return _seen_from_afar(model, hybrid.beyond, site), name
    return model, ""


def names_at(beyond: Beyond, site: str) -> tuple[str, str] | None:
    """The DNS names of a site's gateways and reporter, where the settings say them."""
    domain = beyond.service_at(site).domain
    return (f"{site}.{domain}", f"report-{site}.{domain}") if domain else None


def annotated(beyond: Beyond, site: str, name: str | None) -> dict[str, str]:
    """Annotations of a Service there; external-dns gives it the name."""
    return {**beyond.service_at(site).annotations, **({HOSTNAME: name} if name else {})}


def _seen_from_afar(model: Model, beyond: Beyond, site: str) -> Model:
    tls, names = beyond.tls, names_at(beyond, site)
    said = beyond.service_at(site).model_dump(exclude={"report_node_port", "domain"})
    said["annotations"] = annotated(beyond, site, names[0] if names else None)
    service = Service().model_copy(update={**said, "port": 443 if tls else None})
    gateway = (model.gateway or Gateway()).model_copy(update={"tls_secret": tls.secret if tls else None})
    return model.model_copy(update={"service": service, "gateway": gateway})


def beyond_of(stack: Stack, router: str) -> Beyond | None:
    """How a router reaches sites beyond, if there is one of the name."""
    hybrid = stack.routers[router].hybrid if router else None
    return hybrid.beyond if hybrid else None


def reporters_of(stack: Stack, site: str, model: str) -> list[str]:
    """Routers whose reporter counts a model at a site; the reporter is called as the router."""
    return [
        key
        for key, one in stack.routers.items()
        if one.hybrid and one.hybrid.model == model and site in one.hybrid.sites
    ]
