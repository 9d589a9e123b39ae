"""The constants of the delineation, for the compiled code and for the reference alike.

Times are in seconds, so a rule means the same at every sampling rate. The windows follow from physiology. The fractions
of slopes, the priors and their weights were set on LUDB records 1-150. What helped only one half of them was mostly
left out; the score of a T wave's humps, the weight of the T offset's prior and the rule for a second P phase were
chosen on all of them together.

A prior is where readers put a boundary on average (from the centre of the QRS, from the peak of the wave), its weight
what an average of both explains best: readers vary less from record to record than the slopes of low waves do.
"""

INTERNAL_RATE = 250.0  # Hz aimed at: boundaries are interpolated between samples, so 4 ms do not limit them
LEAD_ALL = -2  # for the lead's index
BLOCK = 20  # beats averaged together: enough to suppress noise, few enough (10-20 s) for the shape to stay the same
BEFORE, AFTER = 0.45, 0.80  # s around the centre of a beat that the average covers: PR up to 0.4, QT up to 0.75
CLUSTERS = 4  # QRS shapes told apart in a block

# Pacing spikes are taken out before anything is measured: readers begin the QRS complex after them.
SPIKE_HALF = 0.006  # s from the peak of a spike to where the line goes on
SPIKE_BEFORE, SPIKE_AFTER = 0.16, 0.02  # s around the R peak that are searched

# QRS. Fractions are of the steepest slope of the complex.
QRS_SLOPE = 0.008  # s on either side in the slope: short against the 20-40 ms of a QRS flank
QRS_BEFORE, QRS_AFTER = 0.11, 0.20  # s searched around the R peak, which may be any of the deflections
QRS_STEEP_ON, QRS_STEEP_OFF = 0.25, 0.20  # what belongs to the complex: above the P and T slopes, below a small q or s
QRS_GAP_ON, QRS_GAP_OFF = 0.030, 0.060  # s without steep slope inside a complex (rounded peaks, notches)
QRS_EDGE_ON, QRS_EDGE_OFF = 0.08, 0.06  # where it begins and ends
QRS_NOISE = 3.0  # ... or this many times the slope of the quietest 40 ms beside it
QRS_NOISE_MEAN = 2.0  # the same on the averaged beat
QRS_RUN_ON, QRS_RUN_OFF = 0.016, 0.008  # s below the threshold end it
WHOLE_BEFORE, WHOLE_AFTER, WHOLE = 0.30, 0.45, 0.04  # s around the centre; what misses more there is not averaged
QRS_ALIKE = 0.75  # correlation over the central 120 ms of beats that are averaged
# s from the centre, and the weight of the measurement; readers begin the QRS some 8 ms before a single lead shows it
QRS_ON_PRIOR, QRS_ON_WEIGHT = -0.063, 0.6
QRS_OFF_PRIOR, QRS_OFF_WEIGHT = 0.055, 0.7
QRS_OWN = 0.4  # share of a beat's own deviation from the average, the rest is taken for noise

# T wave. Times scale with the square root of the RR interval (as in Bazett's formula).
T_SLOPE, T_FOOT_SLOPE = 0.024, 0.020  # s on either side in the slope, for finding the peak and the feet
T_FIRST = 0.064  # s after the QRS
T_LAST = 0.42  # s after the centre of the QRS at 60 per minute, for the peak
T_BEFORE_QRS = 0.06  # s before the next QRS
T_TYPICAL, T_SPREAD = 0.29, 0.12  # s after the centre at 60 per minute, and the standard deviation of this prior
T_NEAR = 0.028  # s, spread of the single beats around the average
T_OTHER = 0.7  # factor on the score of a wave of the other sign than the average's
T_ON_EDGE, T_OFF_EDGE = 0.25, 0.26  # fractions of the steepest slope of the flank
T_ON_REACH, T_OFF_REACH = 0.20, 0.18  # s from the peak, at most
T_SECOND, T_SECOND_REACH = 0.85, 0.14  # least height of a second phase, as a share of the first; s from the peak
T_SECOND_LEAST = 0.05  # mV, least height of the first phase: beside a flat T wave the next bump is a U wave or noise
T_ON_PRIOR, T_ON_WEIGHT = -0.108, 0.3  # s from the peak at 60 per minute, and the weight of the measurement
T_OFF_PRIOR, T_OFF_WEIGHT = 0.080, 0.85
T_OWN_ON, T_OWN_OFF = 0.2, 0.6  # share of a beat's own deviation, times the coherence of the beats

# Absent is a T wave that the average would show and does not; docs/notes/delineate.md says how the numbers were found.
T_EVIDENCE = 3.5  # power of the mean over that of the deviations (F ratio; 1 of noise) that a T wave must reach
T_EVIDENCE_STRICT = 8.0  # ... beside the next P wave, or if its sign is to change from beat to beat, which is rare
T_WIDE_SLOPE = 0.048  # s on either side, where T_SLOPE shows no T wave: noise splits the top of a flat one
T_NOISE = 0.010  # mV left in the mean: above, a T wave could hide in it
T_IRREGULAR = 0.1  # median change of RR, as a share: above, T waves do not stand still against their QRS complexes
T_ALONE = 2.5  # ... in a beat unlike the others: its least height, times that of noise in the beats that have none
T_OR_P = 0.45  # the last wave before a QRS complex is a P wave if its squared distances from either's place differ so
T_NONE = 0.2  # s after the centre of a beat without T wave, from where the next P wave is looked for
LEAST = 0.0005  # mV, height of a wave: below is rounding

# P wave
P_SLOPE, P_FOOT_SLOPE = 0.034, 0.016
P_EARLIEST = 0.30  # s before the QRS, for the peak
P_LATEST = 0.007  # ... and the latest
P_TYPICAL, P_SPREAD = 0.11, 0.08  # s before the QRS, and the standard deviation of this prior
P_NEAR, P_OTHER = 0.03, 0.3
P_ON_EDGE, P_OFF_EDGE = 0.20, 0.40
P_REACH = 0.09  # s from the peak, at most: P waves last 60 to 160 ms
P_SECOND, P_SECOND_REACH, P_SECOND_LEAST = 0.7, 0.06, 0.0
# A positive phase so high, relative to the negative one after it, is the peak of the wave (V1: the right atrium first).
P_FIRST, P_FIRST_REACH = 0.6, 0.07  # s between the two
P_ON_PRIOR, P_ON_WEIGHT = -0.052, 0.5
P_OFF_PRIOR, P_OFF_WEIGHT = 0.049, 0.5
P_OWN_ON, P_OWN_OFF = 0.3, 0.3
P_COHERENCE, P_IRREGULAR = 0.45, 1.0  # coherence must exceed the first + the second x irregularity of the rhythm
P_SHARE = 0.2  # least prominence of a beat's P, as a share of the average's
