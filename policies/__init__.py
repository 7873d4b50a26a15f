"""Policy files: what they promise, how they are written and how they are run."""
