"""Suite ``privacy``: what noise costs a mean and a training, how fast it is drawn, and where it leaves nothing.

* ``means``: the error of estimated means beside the central Gaussian mechanism's.
* ``training``: accuracy of models that are trained with noise, on data that ships in packages.
* ``sampler``: draws in a second, and their statistics.
* ``suite``: its options. ``plot``: the picture.
"""
