"""Stands before the package of this name, which is not there: what follows is what its absence does.

Tools of the release bring it, and nobody who uses the project has it. Where it is, ``jsonschema`` imports it to look at
IRIs, which nothing here holds, and its grammar takes two seconds of a core to be read: in every process of Ray, and
wherever a notebook is opened.
"""

raise ImportError("tests do without it")
