"""Public names of `agency.forge.gitea`."""

from .clients import GiteaClients as GiteaClients
from .clients import IssuedClient as IssuedClient
from .clients import OauthClient as OauthClient
from .clients import gitea_clients as gitea_clients
from .forge import GiteaForge as GiteaForge
from .forge import gitea_forge as gitea_forge
