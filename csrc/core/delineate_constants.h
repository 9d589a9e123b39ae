#pragma once
// The constants of the delineation, each with its reason, for the C++ code, for Numba's and for the reference alike:
// one list makes the constants and the table that physioclr/ops/_numba/constants.py reads.
//
// Times are in seconds, so a rule means the same at every sampling rate. The windows follow from physiology. The
// fractions of slopes, the priors and their weights were set on LUDB records 1-150. What helped only one half of them
// was mostly left out; the score of a T wave's humps, the weight of the T offset's prior and the rule for a second P
// phase were chosen on all of them together.
//
// A prior is where readers put a boundary on average (from the centre of the QRS, from the peak of the wave), its
// weight what an average of both explains best: readers vary less from record to record than the slopes of low waves
// do.

// clang-format off
#define PHYSIOCLR_DELINEATE_CONSTANTS(X) \
  /* Hz aimed at: boundaries are interpolated between samples, so 4 ms do not limit them */ \
  X(double, kInternalRate, 250.0) \
  /* for the lead's index: the mean of the leads, all of them */ \
  X(int, kLeadMean, -1) X(int, kLeadAll, -2) \
  /* beats averaged together: enough to suppress noise, few enough (10-20 s) for the shape to stay the same */ \
  X(int, kBlock, 20) \
  /* s around the centre of a beat that the average covers: PR up to 0.4, QT up to 0.75 */ \
  X(double, kBefore, 0.45) X(double, kAfter, 0.80) \
  /* QRS shapes told apart in a block */ \
  X(int, kClusters, 4) \
  /* Pacing spikes are taken out before anything is measured: readers begin the QRS complex after them. */ \
  /* s from the peak of a spike to where the line goes on */ \
  X(double, kSpikeHalf, 0.006) \
  /* s around the R peak that are searched */ \
  X(double, kSpikeBefore, 0.16) X(double, kSpikeAfter, 0.02) \
  /* QRS. Fractions are of the steepest slope of the complex. */ \
  /* s on either side in the slope: short against the 20-40 ms of a QRS flank */ \
  X(double, kQrsSlope, 0.008) \
  /* s searched around the R peak, which may be any of the deflections */ \
  X(double, kQrsBefore, 0.11) X(double, kQrsAfter, 0.20) \
  /* what belongs to the complex: above the P and T slopes, below a small q or s */ \
  X(double, kQrsSteepOn, 0.25) X(double, kQrsSteepOff, 0.20) \
  /* s without steep slope inside a complex (rounded peaks, notches) */ \
  X(double, kQrsGapOn, 0.030) X(double, kQrsGapOff, 0.060) \
  /* where it begins and ends */ \
  X(double, kQrsEdgeOn, 0.08) X(double, kQrsEdgeOff, 0.06) \
  /* ... or this many times the slope of the quietest 40 ms beside it */ \
  X(double, kQrsNoise, 3.0) \
  /* the same on the averaged beat */ \
  X(double, kQrsNoiseMean, 2.0) \
  /* s below the threshold end it */ \
  X(double, kQrsRunOn, 0.016) X(double, kQrsRunOff, 0.008) \
  /* s around the centre; what misses more there is not averaged */ \
  X(double, kWholeBefore, 0.30) X(double, kWholeAfter, 0.45) X(double, kWhole, 0.04) \
  /* correlation over the central 120 ms of beats that are averaged */ \
  X(double, kQrsAlike, 0.75) \
  /* s from the centre, and the weight of the measurement; readers begin the QRS some 8 ms before a single lead \
     shows it */ \
  X(double, kQrsOnPrior, -0.063) X(double, kQrsOnWeight, 0.6) \
  X(double, kQrsOffPrior, 0.055) X(double, kQrsOffWeight, 0.7) \
  /* share of a beat's own deviation from the average, the rest is taken for noise */ \
  X(double, kQrsOwn, 0.4) \
  /* T wave. Times scale with the square root of the RR interval (as in Bazett's formula). */ \
  /* s on either side in the slope, for finding the peak and the feet */ \
  X(double, kTSlope, 0.024) X(double, kTFootSlope, 0.020) \
  /* s after the QRS */ \
  X(double, kTFirst, 0.064) \
  /* s after the centre of the QRS at 60 per minute, for the peak */ \
  X(double, kTLast, 0.42) \
  /* s before the next QRS */ \
  X(double, kTBeforeQrs, 0.06) \
  /* s after the centre at 60 per minute, and the standard deviation of this prior */ \
  X(double, kTTypical, 0.29) X(double, kTSpread, 0.12) \
  /* s, spread of the single beats around the average */ \
  X(double, kTNear, 0.028) \
  /* factor on the score of a wave of the other sign than the average's */ \
  X(double, kTOther, 0.7) \
  /* fractions of the steepest slope of the flank */ \
  X(double, kTOnEdge, 0.25) X(double, kTOffEdge, 0.26) \
  /* s from the peak, at most */ \
  X(double, kTOnReach, 0.20) X(double, kTOffReach, 0.18) \
  /* least height of a second phase, as a share of the first; s from the peak */ \
  X(double, kTSecond, 0.85) X(double, kTSecondReach, 0.14) \
  /* mV, least height of the first phase: beside a flat T wave the next bump is a U wave or noise */ \
  X(double, kTSecondLeast, 0.05) \
  /* s from the peak at 60 per minute, and the weight of the measurement */ \
  X(double, kTOnPrior, -0.108) X(double, kTOnWeight, 0.3) \
  X(double, kTOffPrior, 0.080) X(double, kTOffWeight, 0.85) \
  /* share of a beat's own deviation, times the coherence of the beats */ \
  X(double, kTOwnOn, 0.2) X(double, kTOwnOff, 0.6) \
  /* Absent is a T wave that the average would show and does not; docs/notes/delineate.md says how the numbers \
     were found. */ \
  /* power of the mean over that of the deviations (F ratio; 1 of noise) that a T wave must reach */ \
  X(double, kTEvidence, 3.5) \
  /* ... beside the next P wave, or if its sign is to change from beat to beat, which is rare */ \
  X(double, kTEvidenceStrict, 8.0) \
  /* s on either side, where T_SLOPE shows no T wave: noise splits the top of a flat one */ \
  X(double, kTWideSlope, 0.048) \
  /* mV left in the mean: above, a T wave could hide in it */ \
  X(double, kTNoise, 0.010) \
  /* median change of RR, as a share: above, T waves do not stand still against their QRS complexes */ \
  X(double, kTIrregular, 0.1) \
  /* ... in a beat unlike the others: its least height, times that of noise in the beats that have none */ \
  X(double, kTAlone, 2.5) \
  /* the last wave before a QRS complex is a P wave if its squared distances from either's place differ so */ \
  X(double, kTOrP, 0.45) \
  /* s after the centre of a beat without T wave, from where the next P wave is looked for */ \
  X(double, kTNone, 0.2) \
  /* mV, height of a wave: below is rounding */ \
  X(double, kLeast, 0.0005) \
  /* P wave */ \
  X(double, kPSlope, 0.034) X(double, kPFootSlope, 0.016) \
  /* s before the QRS, for the peak */ \
  X(double, kPEarliest, 0.30) \
  /* ... and the latest */ \
  X(double, kPLatest, 0.007) \
  /* s before the QRS, and the standard deviation of this prior */ \
  X(double, kPTypical, 0.11) X(double, kPSpread, 0.08) \
  X(double, kPNear, 0.03) X(double, kPOther, 0.3) \
  X(double, kPOnEdge, 0.20) X(double, kPOffEdge, 0.40) \
  /* s from the peak, at most: P waves last 60 to 160 ms */ \
  X(double, kPReach, 0.09) \
  X(double, kPSecond, 0.7) X(double, kPSecondReach, 0.06) X(double, kPSecondLeast, 0.0) \
  /* A positive phase so high, relative to the negative one after it, is the peak of the wave (V1: the right \
     atrium first). */ \
  /* s between the two */ \
  X(double, kPFirst, 0.6) X(double, kPFirstReach, 0.07) \
  X(double, kPOnPrior, -0.052) X(double, kPOnWeight, 0.5) \
  X(double, kPOffPrior, 0.049) X(double, kPOffWeight, 0.5) \
  X(double, kPOwnOn, 0.3) X(double, kPOwnOff, 0.3) \
  /* coherence must exceed the first + the second x irregularity of the rhythm */ \
  X(double, kPCoherence, 0.45) X(double, kPIrregular, 1.0) \
  /* least prominence of a beat's P, as a share of the average's */ \
  X(double, kPShare, 0.2)
// clang-format on

namespace physioclr::waves {

#define PHYSIOCLR_DELINEATE_CONSTANT(type, name, value) constexpr type name = value;
PHYSIOCLR_DELINEATE_CONSTANTS(PHYSIOCLR_DELINEATE_CONSTANT)
#undef PHYSIOCLR_DELINEATE_CONSTANT

}  // namespace physioclr::waves
