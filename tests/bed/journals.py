"""What a journal of a restore begins with, where a test writes one by itself."""

from tasks.containers.engine import EngineIdentity
from tasks.restore.journal import Before

AS_FOUND = Before(running=True, healthy=True, restart_policy={"Name": "always", "MaximumRetryCount": 0})
HERE = EngineIdentity(id="an-engine", name="a-machine")
