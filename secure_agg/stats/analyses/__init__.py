"""The analyst's half of each statistic, pure functions of totals.

* ``moments``: sums of products. ``tabulated``: counts. ``likelihood``: logistic regression. ``survival``: curves, test.
* What is told where there is noise: ``centred`` by sums of products, ``ranks`` of a quantile, ``blurred`` of survival.
"""
