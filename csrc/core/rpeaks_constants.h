#pragma once
// The constants of detect_rpeaks, each with its reason. Times are seconds unless they say otherwise.
// One list makes the constants and the table that physioclr/reference/rpeaks.py reads, so that neither can drift from
// the other.

// clang-format off
#define PHYSIOCLR_RPEAKS_CONSTANTS(X) \
  /* Working rate in Hz: a QRS complex has no energy to speak of above 40 Hz, and the index is refined at full rate */ \
  X(double, kWorkRate, 125.0) \
  /* The envelope changes slowly (its band is that of the wavelets, 6 Hz to each side): from this rate up every
     second working sample is enough. */ \
  X(double, kHopRate, 100.0) \
  /* The envelope is the modulus of Gabor wavelets. At 10 Hz wide complexes stand out of muscle noise, at 18 Hz
     narrow ones stand out of T waves and electrode motion; each second of a record takes what serves it (see
     contrast). Half a cycle of deviation (50 and 28 ms, about a QRS width) gives one peak a complex. */ \
  X(int, kBands, 2) X(double, kLowCentre, 10.0) X(double, kHighCentre, 18.0) X(double, kCycles, 0.5) \
  /* Half length of a wavelet in deviations: what is cut off is 1 % of its top. */ \
  X(double, kSupport, 3.0) \
  /* Pulses narrower than this, in seconds, are pacing spikes or single bad samples, not waves. */ \
  X(double, kSpike, 0.004) \
  /* The grids of a record hang on its anchor: the first sample of the first kAnchorSpan with kAnchorShare of the
     largest change over one working sample, kAnchorEdge (or an eighth of the record) from its ends. A share below 1,
     and none that digital values hit, since of equal steps rounding, as of another gain, would choose. Seconds. */ \
  X(double, kAnchorSpan, 10.0) X(double, kAnchorEdge, 0.5) X(float, kAnchorShare, 0.9873f) \
  /* A record shorter than this, in seconds, holds no complex with its surroundings. */ \
  X(double, kShortest, 0.4) \
  /* Two maxima closer than this are parts of one complex; 300 beats a minute are one each 200 ms. Seconds. */ \
  X(double, kSeparation, 0.18) X(double, kRefractory, 0.19) \
  /* Level of "a beat here": a quantile of the maxima of the blocks of 1 s within kAside; at least kSecond times the
     second largest of them; and at least kFloor times a higher quantile within kWide, so that at 20 beats a minute,
     where one block of three holds a beat, and in a pause of some seconds the small waves do not become beats. One
     artefact or large ectopic beat moves none of the three. */ \
  X(double, kBlock, 1.0) X(int, kAside, 2) X(int, kWide, 4) X(float, kQuantile, 0.6f) X(float, kSecond, 0.7f) \
  X(float, kFloor, 0.65f) X(float, kWideQuantile, 0.75f) \
  /* A lead and band counts with (level / mean - kQuiet)^2 + kLeast: level / mean is 2.3 for noise, 6 to 10 for a
     clean ECG. */ \
  X(float, kQuiet, 2.0f) X(float, kLeast, 0.01f) \
  /* noise = mean / level of the fused envelope: 0.10 to 0.15 in a clean ECG, 0.3 at 0 dB, 0.42 in white noise; z is
     what exceeds kCalm. Evidence for a beat: (amplitude / level - threshold) / width, both rising with z, as the
     amplitudes of noise do, and bounded to +-kEvidence so that no artefact outweighs its neighbours. T waves lie
     near 0.2 of the level, small ventricular beats near 0.45. In noise even a maximum as high as a beat is one less
     often (the odds fall from 20 to 1 without to 2 to 1 at z = 0.15), and one far above the level no more often: the
     upper bound falls by kEvidenceFall times z. */ \
  X(float, kCalm, 0.16f) X(float, kThreshold, 0.31f) X(float, kThresholdRise, 0.8f) X(float, kWidth, 0.1f) \
  X(float, kWidthRise, 0.7f) X(float, kEvidence, 2.5f) X(float, kEvidenceFall, 5.0f) \
  /* In noise the envelope at 18 Hz over that at 10 Hz tells a QRS complex (above kSharpRatio) from electrode motion
     and T waves: evidence of kSharp times the relative difference, from kLeastSharp (broad complexes are beats too)
     to kMostSharp, beyond which it falls again (muscle noise and pacing spikes are sharper than complexes). In full
     from z = kSharpNoise on; over kSharpFade above kHiss it goes, as white noise is sharp. */ \
  X(float, kSharp, 0.75f) X(float, kSharpRatio, 0.85f) X(float, kLeastSharp, -0.3f) X(float, kMostSharp, 0.5f) \
  X(float, kSharpNoise, 0.06f) X(float, kSharpFade, 0.05f) \
  /* A tall, peaked T wave, where z is at most kTCalm: a beat at most kTAfter after another one, below kTLess of its height, and its steepest step,
     within kTFlank, below kTSlope of that one's (a T wave is less than half as steep as the QRS complex; at the working
     rate a QRS complex loses a little). Some ventricular beats are as smooth. But a T wave follows every complex, so
     two thirds of the others within kSpan must have one, kTApart from its distance at most and of kTAlike of its height at
     least. And a ventricular beat has a T wave of its own: where no beat comes within kTRoom, the mean from kTWaveFrom
     to kTWaveTo after it lies beside the means around kTEarly and kTLate (kTSide to each side) by kTBend of its height.
     Such a beat does not count as a T wave; baseline wander and the undershoot of a filter do not bend like that. What
     is a T wave loses kTWave of its evidence, and the beats are chosen anew, kTRounds times. */ \
  X(double, kTAfter, 0.5) X(float, kTLess, 0.75f) X(double, kTFlank, 0.08) X(float, kTSlope, 0.52f) \
  X(double, kTApart, 0.06) X(float, kTAlike, 0.5f) X(double, kTRoom, 0.75) X(double, kTEarly, 0.15) \
  X(double, kTLate, 0.46) X(double, kTSide, 0.02) X(double, kTWaveFrom, 0.22) X(double, kTWaveTo, 0.34) \
  X(float, kTBend, 0.1f) X(float, kTWave, 5.0f) X(float, kTCalm, 0.06f) X(int, kTRounds, 2) \
  /* Where noise exceeds kHiss and the candidates are of very different height, there may be no ECG at all: evidence
     is reduced by kDoubt times both. At 300 beats a minute the noise measure is as high, but all candidates are
     alike. */ \
  X(float, kHiss, 0.2f) X(float, kDoubt, 100.0f) \
  /* Local rhythm: the median interval within kSpan seconds, first between clear candidates (amplitude above kClear),
     then between the beats that the first pass chose. Bounds in seconds. */ \
  X(float, kClear, 0.6f) X(float, kSpan, 3.0f) X(float, kRhythmDefault, 0.8f) X(float, kRhythmMin, 0.2f) \
  X(float, kRhythmMax, 1.6f) \
  /* Candidates lie kSeparation apart: at most 2 kSpan / kSeparation = 34 intervals. */ \
  X(int, kMostGaps, 40) \
  /* An interval below kEarly of the local rhythm costs kEarlyCost per quarter of it, more in noise, where an early
     "beat" is more often an artefact than an ectopic beat. One above kLate costs up to twice kLateCost: the search-
     back of a classical detector. */ \
  X(float, kEarly, 0.8f) X(float, kEarlyCost, 0.2f) X(float, kEarlyRise, 25.0f) X(float, kLate, 1.35f) \
  X(float, kLateCost, 1.0f) \
  /* Candidates: at least kLookBack * kSeparation = 1.1 s. */ \
  X(int, kLookBack, 6) \
  /* Refinement. kRefine, kBaseline: half window around the envelope's maximum and half window of the mean that
     stands for the baseline (s). kInverted: how much larger than the positive deflection of a lead the negative one
     must be to be dominant. kTaper: how quickly, in noise, deflections away from the envelope's maximum lose weight
     (per s^2). */ \
  X(double, kRefine, 0.07) X(double, kBaseline, 0.12) X(float, kInverted, 1.5f) X(float, kTaper, 40000.0f) \
  /* Where the negative deflection dominates, a positive one before it is the R wave of an RS complex if it is a wave
     of its own: a maximum at most kRS before the first dip of the complex (one with at least kDip of the largest),
     and higher than what precedes it within kNotch by kProminence of the fall that follows, more in noise. The
     deflection of a broad complex (wider than kBroad at half its depth: paced, bundle branch block) develops slowly,
     so that the R wave may be small and early: kBroadRS, kBroadProminence. kFall: where the height from which the
     wave falls is sought. In s. */ \
  X(double, kRS, 0.045) X(double, kBroadRS, 0.12) X(double, kNotch, 0.06) X(double, kFall, 0.12) \
  X(double, kBroad, 0.055) X(double, kWidest, 0.2) \
  /* Several leads: the first wave of their sum, with at least kDip of the largest. Where that is broad the leads
     peak far apart, and so it is put to the vote: each lead has its own R wave, by the rule above, and votes for it
     with what it deflects there. The R wave comes first, so the first quarter of the votes decides (kVote). Fewer
     than kVoters leads cannot vote: the quarter would be the earlier of two. */ \
  X(float, kVote, 0.25f) X(int, kVoters, 3) X(float, kDip, 0.7f) X(float, kProminence, 0.13f) \
  X(float, kBroadProminence, 0.015f) X(float, kProminenceRise, 7.0f) \
  /* The index is the middle of the top of the wave, of the samples within kTop of its height from its extremum at
     full rate: noise and slow ST segments move it less than the extremum, flat tops have one. Half window of the
     search (s). */ \
  X(double, kFine, 0.024) X(float, kTop, 0.25f) \
  /* Quality: the value of the chosen sequence per beat, from kPoor (what noise reaches) to kEvidence; less so where
     the beats are of uneven height (standard deviation over mean, from kEven to kUneven) and the noise above kCalm
     reaches kUneasy: ectopic beats in a calm record may be of any height. Amplitudes above kLargest count as that.
     Among records without noise to speak of, the height of the candidates that are no beats, over that of the beats,
     takes off kBeside of itself. */ \
  X(float, kPoor, 0.9f) X(float, kEven, 0.12f) X(float, kUneven, 0.45f) X(float, kUneasy, 0.08f) \
  X(float, kLargest, 2.0f) X(float, kBeside, 0.2f)
// clang-format on

namespace physioclr::rpeaks {

#define PHYSIOCLR_RPEAKS_CONSTANT(type, name, value) constexpr type name = value;
PHYSIOCLR_RPEAKS_CONSTANTS(PHYSIOCLR_RPEAKS_CONSTANT)
#undef PHYSIOCLR_RPEAKS_CONSTANT
constexpr double kCentre[kBands] = {kLowCentre, kHighCentre};

}  // namespace physioclr::rpeaks
