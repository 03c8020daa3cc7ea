"""The analyst's half of each statistic, pure functions of totals.

* ``moments``: sums of products. ``tabulated``: counts. ``likelihood``: logistic regression. ``survival``: curves, test.
"""
