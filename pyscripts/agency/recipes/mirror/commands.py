"""Command `agency recipes mirror`."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from agency.commandline import emit, json_option
from agency.errors import UsageError
from agency.forge import Forge, Project, gitea_forge, gitlab_forge
from agency.instance import default_directory, load_instance
from agency.recipes.enrol.source import UPSTREAM
from agency.recipes.mirror.mirroring import Mirrored, Order, mirror
from agency.recipes.mirror.repository import Bare, Login, check_branch
from agency.recipes.run.checkout import parse_source
from agency.secrets import SecretValue
from agency.settings import read_bounded

_MAX_TOKEN = 4096


@click.command("mirror")
@click.argument("recipe")
@click.option("--forge", "url", required=True, metavar="URL", help="Address of the forge.")
@click.option("--kind", type=click.Choice(("gitea", "gitlab")), default="gitea", show_default=True)
@click.option(
    "--token-file",
    required=True,
    type=click.Path(path_type=Path),
    help="Your own access token, in a file that only you can read.",
)
@click.option("--repository", metavar="OWNER/NAME", help="Default: the enrolled recipe's.")
@click.option("--upstream", metavar="URL", help="Default: RECIPE of Co-op Cloud.")
@click.option("--change", metavar="PATH_OR_URL@REF", help="Commits to propose.")
@click.option("--branch", help="Their branch; default: the name of REF.")
@click.option("--title", help="Of the merge request; default: the last commit's.")
@click.option("--discard", is_flag=True, help="Replace a main that has commits of its own.")
@click.option(
    "--instance", "directory", metavar="DIR", type=click.Path(path_type=Path), help="Instance."
)
@json_option
def mirror_(
    recipe: str,
    url: str,
    kind: str,
    token_file: Path,
    repository: str | None,
    upstream: str | None,
    change: str | None,
    branch: str | None,
    title: str | None,
    discard: bool,
    directory: Path | None,
    as_json: bool,
) -> None:
    """Mirror RECIPE on the forge, and open a merge request there, with your own token.

    The mirror is made if it is missing (private), else its main is brought to upstream's; its tags
    too. With --change, a branch is pushed and its merge request opened, unless it is open. Exit
    status 1: main has commits that upstream lacks, and --discard is not given.
    """
    order = Order(
        repository=repository or _enrolled(recipe, directory),
        upstream=upstream or f"{UPSTREAM}/{recipe}.git",
        change=(found := _change(change)),
        branch=check_branch(branch or found[1]) if found else "",
        title=title,
        discard=discard,
    )
    data = read_bounded(token_file, most=_MAX_TOKEN, what="your access token", private=True)
    token = SecretValue(data.decode(errors="replace").strip())
    done = asyncio.run(_mirror(order, url, kind, token))

    def human(out: Console) -> None:
        state = "made" if done.created else "up to date" if done.before == done.main else "synced"
        out.print(Text(f"{done.repository}: {state}, main at {done.main[:12]}, {done.tags} tags"))
        if done.discarded:
            out.print(Text(f"discarded {done.discarded} commits; main was {done.before}"))
        out.print(Text(done.merge_request or done.web_url))

    emit(done.as_dict(), as_json=as_json, human=human)


async def _mirror(order: Order, url: str, kind: str, token: SecretValue) -> Mirrored:
    opened: AbstractAsyncContextManager[Forge] = (
        gitea_forge(url, token.reveal()) if kind == "gitea" else gitlab_forge(url, token.reveal())
    )

    def login(project: Project, user: str) -> Login:
        if not project.clone_url.startswith(f"{url.rstrip('/')}/"):
            # The token is for this forge; its answer must not send it elsewhere.
            raise UsageError(
                f"its repositories are at another address: {project.clone_url[:200]}",
                where=f"--forge {url}",
                hint="name the address that the forge itself uses",
            )
        return Login(url, user, token)

    with tempfile.TemporaryDirectory(prefix="agency-mirror-") as place:
        async with opened as forge:
            return await mirror(forge, order, Bare.make(Path(place)), login)


def _enrolled(recipe: str, directory: Path | None) -> str:
    loaded = load_instance(directory or default_directory(), check_recipients=False)
    listed = loaded.instance.recipes.get(recipe)
    if listed is None:
        raise UsageError(f"{recipe[:80]} is not enrolled", hint="name --repository OWNER/NAME")
    return listed.repository


def _change(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    source = parse_source(text)
    if source.ref is None:
        raise UsageError("no branch or commit is named", where="--change", hint="PATH@BRANCH")
    directory = source.directory
    return (str(directory.resolve()) if directory else source.place), source.ref
