"""NVFlare: a FedAvg recipe becomes secure and verified by one line, ``secure(recipe)``.

What is pinned, roster, policy and keys, comes from each site's own configuration, which ``configure`` writes; a job
decides none of it.

* ``recipe``: the one line. ``controller``: the server's side. ``site``: a site's configuration.
  ``simulation``: homes for NVFlare's simulator. ``statistics``: jobs that ask questions, and train nothing.
* ``filters``, ``session``: a node's side. ``peers``: the server's way to the nodes. ``wire``: payloads in messages.
* ``models``: models as arrays. ``given``: what an app is given, as one digest.
"""

from secure_agg.plugins.core.versions import require

require("nvflare", ">=2.9,<2.10", "nvflare")

from secure_agg.plugins.nvflare.controller import SecureFedAvg  # noqa: E402  # not before the version is known
from secure_agg.plugins.nvflare.filters import SecureTaskData, SecureTaskResult  # noqa: E402
from secure_agg.plugins.nvflare.recipe import secure  # noqa: E402
from secure_agg.plugins.nvflare.site import configure  # noqa: E402

__all__ = ["SecureFedAvg", "SecureTaskData", "SecureTaskResult", "configure", "secure"]
