"""Public names of `agency.forge`; other packages import these and nothing else."""

from .contract import MOST as MOST
from .contract import Access as Access
from .contract import Comment as Comment
from .contract import CommitState as CommitState
from .contract import CommitStatus as CommitStatus
from .contract import Forge as Forge
from .contract import Hook as Hook
from .contract import HookEvent as HookEvent
from .contract import Issue as Issue
from .contract import MergeRequest as MergeRequest
from .contract import MergeState as MergeState
from .contract import NewComments as NewComments
from .contract import NewMergeRequest as NewMergeRequest
from .contract import Project as Project
from .contract import Reaction as Reaction
from .contract import RequestComment as RequestComment
from .contract import User as User
from .errors import ForgeError as ForgeError
from .errors import ForgeUnreachableError as ForgeUnreachableError
from .gitea import gitea_forge as gitea_forge
from .gitlab import GitlabApi as GitlabApi
from .gitlab import administered as administered
from .gitlab import gitlab_forge as gitlab_forge
from .hooks import HookRefusedError as HookRefusedError
from .hooks import Told as Told
from .hooks import read_hook as read_hook
