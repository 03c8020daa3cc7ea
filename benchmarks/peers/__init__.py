"""The suite ``peers``: other people's code beside ours."""
