"""Public names of `agency.forge.gitea`."""

from .client import GiteaForge as GiteaForge
from .client import gitea_forge as gitea_forge
