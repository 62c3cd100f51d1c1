"""`make docs`: write the generated pages of docs/."""

from __future__ import annotations

import click

from ops import api_docs, settings_docs


@click.command("docs")
def docs_command() -> None:
    """Write docs/python-api.md from docstrings and the tables of docs/configuration.md from the settings."""
    pages = {
        api_docs.PAGE: api_docs.page(),
        settings_docs.PAGE: settings_docs.filled(settings_docs.PAGE.read_text(encoding="utf-8")),
    }
    for file, text in pages.items():
        changed = file.read_text(encoding="utf-8") != text
        file.write_text(text, encoding="utf-8")
        click.echo(f"{file.name}: {'written' if changed else 'no changes'}")
