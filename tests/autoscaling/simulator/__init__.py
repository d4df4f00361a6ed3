"""Of autoscaling/simulator/.

Ray is imported here once, without what its own imports warn of: in these tests warnings are errors.
"""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import ray.serve  # noqa: F401
