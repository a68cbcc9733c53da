"""Correlations that others have published, to be drawn beside a run's."""

#: Pearson's r with the mean of twenty people, of all sentences of a source, without training on any: table 4 of Hutto
#: and Gilbert, "VADER", ICWSM 2014; of VADER, and of single people who rated the same sentences.
PUBLISHED = {
    "VADER (Hutto and Gilbert)": {"tweet": 0.881, "film": 0.451, "product": 0.565, "editorial": 0.492},
    "one person (Hutto and Gilbert)": {"tweet": 0.888, "film": 0.899, "product": 0.911, "editorial": 0.745},
}
