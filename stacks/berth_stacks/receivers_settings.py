"""Who is told of alerts, in a stack; `berth_components.monitoring.routes` says what each kind means."""

from typing import Annotated, Literal, Self

from berth_components.monitoring.routes import Receiver, ReceiverError
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from berth_stacks.fields import Flag, Name, Settings, Text

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
            said = str(error).partition(": ")[2]
            context = {"allowed": said.partition("; allowed: ")[2], "remedy": said.partition(";")[0]}
            raise PydanticCustomError("berth", "{allowed}", context) from None
        return self

    def receiver(self, name: str) -> Receiver:
        """As the routes take it."""
        given = self.model_dump(exclude_none=True, exclude={"severities", "owners"})
        return Receiver(name=name, severities=tuple(self.severities), owners=tuple(self.owners), **given)


Receivers = dict[Annotated[str, Name], ReceiverSettings]
"""Receivers by name."""
