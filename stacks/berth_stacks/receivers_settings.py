"""Who is told of alerts, in a stack; `berth_components.monitoring.routes` says what each kind means."""

from typing import Annotated, Any, Literal, Self

from berth_components import checks
from berth_components.arguments import Refusal
from berth_components.monitoring.routes import NOBODY, Receiver, ReceiverError
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from berth_stacks.fields import Allowed, Flag, Settings, Text

Severity = Literal["page", "ticket", "info"]


def _usual() -> list[Severity]:
    return ["page", "ticket"]


class ReceiverSettings(Settings):
    """One receiver, by its name; its secret is `berth:alertSecrets.<name>`."""

    kind: Literal["webhook", "slack", "pagerduty", "email"]
    """How it is told."""
    severities: list[Severity] = Field(default_factory=_usual)
    """Of what. Default: page and ticket."""
    owners: list[Text] = Field(default_factory=list)
    """Whose alerts, by their label `owner`. Default: everybody's."""
    deadman: Flag = False
    """Whether it gets the dead-man's switch, every minute, and nothing else. Only webhook. Default: false."""
    channel: Text | None = None
    """Slack's channel. Only with slack."""
    to: Text | None = None
    """Addresses, separated by commas. Only with email."""
    sender: Text | None = None
    """Whom it is from. Only with email."""
    smarthost: Text | None = None
    """The mail server as host:port. Only with email."""
    username: Text | None = None
    """At the mail server. Only with email. Default: none, and no secret."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        try:
            self.receiver("receiver")
        except ReceiverError as error:
            context = {"allowed": f"with {error.key}: {error.allowed}", "remedy": ""}
            raise PydanticCustomError("berth", "{allowed}", context) from None
        return self

    def receiver(self, name: str) -> Receiver:
        """As the routes take it."""
        given = self.model_dump(exclude_none=True, exclude={"severities", "owners"})
        return Receiver(name=name, severities=tuple(self.severities), owners=tuple(self.owners), **given)


def _name(value: Any) -> str:
    if checks.dns_label(value) == NOBODY:
        raise Refusal(f"another name than '{NOBODY}', which is who is told of nothing")
    return str(value)


_PATTERN = (("pattern", f"^({checks.DNS_LABEL.pattern})$"),)
Receivers = dict[Annotated[str, Allowed(_name, _PATTERN)], ReceiverSettings]
"""Receivers by name."""
