"""What was measured as a page, as Markdown, as the documents' table, and compared with older results.

* ``publish``: the command.
* ``sections``: what is said, ``tables`` and ``plots`` what is shown.
* ``canvas``, ``palette``: what all pictures have in common.
* ``page``: it as HTML. ``markdown``: it as Markdown, and the table in the documents.
* ``compare``: two runs side by side.
"""
