"""What detectors of the Numenta anomaly benchmark (NAB) find in the same series by the same rule.

Computed from the scores that NAB publishes (results/NAME/realKnownCause/NAME_nyc_taxi.csv, commit ea702d75).
"""

#: By detector: events found and false alarms above the largest score of the calm weeks, and false alarms with all five
#: events found, None where no threshold finds them all.
NAB = {
    "NAB: ARTime": (5, 0, 0),
    "NAB: relative entropy": (5, 0, 0),
    "NAB: HTM (Java)": (5, 4, 1),
    "NAB: HTM (Numenta)": (4, 0, None),
    "NAB: random cut forest": (3, 0, 5),
    "NAB: windowed Gaussian": (4, 1, 5),
}
