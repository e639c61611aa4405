"""Public names of `agency.forge.gitlab`."""

from .api import GitlabApi as GitlabApi
from .api import GitlabError as GitlabError
from .api import administered as administered
from .forge import GitlabForge as GitlabForge
from .forge import gitlab_forge as gitlab_forge
