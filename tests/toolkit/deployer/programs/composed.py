"""A component with resources of a provider below it, in a foreign package, by hand and without types."""

import pulumi


class Bucket(pulumi.CustomResource):
    """A resource whose class says nothing of its outputs' types."""

    arn: pulumi.Output[str]
    rules: pulumi.Output[dict]

    def __init__(self, name: str, opts: pulumi.ResourceOptions | None = None) -> None:
        inputs = {"arn": None, "rules": {"days": 3}, "token": pulumi.Output.secret("canary-in-a-bucket")}
        super().__init__("other:storage/bucket:Bucket", name, inputs, opts)


class Group(pulumi.ComponentResource):
    """A component."""

    arn: pulumi.Output[str]

    def __init__(self, name: str) -> None:
        super().__init__("demo:storage:Group", name, None)
        inside = Bucket(f"{name}-one", pulumi.ResourceOptions(parent=self))
        Bucket(f"{name}-two", pulumi.ResourceOptions(parent=inside, depends_on=[inside]))
        self.arn = inside.arn
        self.days = inside.rules["days"]
        self.register_outputs({"arn": self.arn})


group = Group("group")
pulumi.export("arn", pulumi.Output.concat("arn ", group.arn))
pulumi.export("days", group.days)
