"""What a federation would be worth, before it begins: what its policy bears, costs and leaves open, and which limit it
breaks.

* ``subject``: what is looked at: a policy, for so many clients, and what else is known of it.
* ``settings``: a file that says what a policy is to be, and which limits it has to keep. ``homes``: the same from trust
  files and from the homes of every party.
* ``figures``: numbers by name. ``limits``: what is asked of them, and how one is broken. ``ways``: the smallest changes
  that would do.
* ``unprotected``: what nothing protects. ``records``: what each control does, and which articles speak of such things.
* ``words``: figures in sentences. ``report``: all of it, ``check``.

Nothing is computed here that a round, a plan or an account of privacy computes: these are asked.
"""
