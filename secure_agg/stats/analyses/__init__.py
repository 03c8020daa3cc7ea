"""The analyst's half of each statistic, pure functions of totals.

* ``moments``: sums of products. ``tabulated``: counts. ``likelihood``: logistic regression. ``survival``: curves, test.
* ``centred``: what sums of products tell where they have noise. ``ranks``: and counts, of a quantile.
"""
