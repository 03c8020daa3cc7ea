"""What a crash or a bad disk has done to a ledger's files, and the mend where the rest proves it.

``fsck`` checks and repairs, ``tree`` looks at the log itself, ``report`` is what was found.
"""
