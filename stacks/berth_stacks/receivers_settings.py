"""Who is told of alerts, in a stack; `berth_components.monitoring.routes` says what each kind means."""

from typing import Annotated, Literal, Self

from berth_components.monitoring.routes import Receiver, ReceiverError
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from berth_stacks.fields import Flag, Name, Settings, Text


class ReceiverSettings(Settings):
    """One receiver, by its name; its secret is `berth:alertSecrets.<name>`."""

    kind: Literal["webhook", "slack", "pagerduty", "email"]
    """How it is told."""
    severities: list[Literal["page", "ticket", "info"]] = Field(default_factory=lambda: ["page", "ticket"])
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
        given = self.model_dump(exclude_none=True)
        lists = {key: tuple(given.pop(key)) for key in ("severities", "owners")}
        return Receiver(name=name, **lists, **given)


Receivers = dict[Annotated[str, Name], ReceiverSettings]
"""Receivers by name."""
