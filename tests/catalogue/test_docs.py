"""What docs/catalogue.md shows is what happens."""

import re
from pathlib import Path

from berth_catalogue import reading

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs" / "catalogue.md").read_text("utf-8")


def test_the_example_runs() -> None:
    [example] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert example.count("assert ") == 7
    exec(compile(example, "docs/catalogue.md", "exec"), {})  # noqa: S102 - our own page, which says that it runs


def test_every_file_of_data_is_in_the_table() -> None:
    folder = Path(reading.__file__).parent
    for path in (*folder.glob("*.yaml"), *folder.glob("*.json")):
        if path.name != "engines.yaml":
            assert f"`{path.name}`" in PAGE
