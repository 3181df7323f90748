"""The executor on a Ray cluster: actors that carry out jobs, on this machine or on others (docs/clusters.md).

`executor` is what a run uses; `ray_worker` is one worker as the run sees it, `actor` what runs in it. Only modules of
this folder import ray, inside functions.
"""
