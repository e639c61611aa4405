"""Public names of `agency.forge.gitea`."""

from .forge import GiteaForge as GiteaForge
from .forge import gitea_forge as gitea_forge
