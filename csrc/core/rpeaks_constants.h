#pragma once
// The constants of detect_rpeaks, each with its reason. Times are seconds unless they say otherwise.
namespace physioclr::rpeaks {

// Working rate in Hz: a QRS complex has no energy to speak of above 40 Hz, and the index is refined at full rate.
constexpr double kWorkRate = 125.0;
// The envelope changes slowly (its band is that of the wavelets, 6 Hz to each side): from this rate up every second
// working sample is enough.
constexpr double kHopRate = 100.0;
// The envelope is the modulus of Gabor wavelets. At 10 Hz wide complexes stand out of muscle noise, at 18 Hz narrow
// ones stand out of T waves and electrode motion; each second of a record takes what serves it (see contrast). Half a
// cycle of deviation (50 and 28 ms, about a QRS width) gives one peak a complex.
constexpr int kBands = 2;
constexpr double kCentre[kBands] = {10.0, 18.0}, kCycles = 0.5;
constexpr double kSupport = 3.0;  // half length of a wavelet in deviations: what is cut off is 1 % of its top
// Pulses narrower than this, in seconds, are pacing spikes or single bad samples, not waves.
constexpr double kSpike = 0.004;
// A record shorter than this, in seconds, holds no complex with its surroundings.
constexpr double kShortest = 0.4;
// Two maxima closer than this are parts of one complex; 300 beats a minute are one each 200 ms. Seconds.
constexpr double kSeparation = 0.18, kRefractory = 0.19;
// Level of "a beat here": a quantile of the maxima of the blocks of 1 s within kAside; at least kSecond times the
// second largest of them; and at least kFloor times a higher quantile within kWide, so that at 20 beats a minute, where
// one block of three holds a beat, and in a pause of some seconds the small waves do not become beats. One artefact or
// large ectopic beat moves none of the three.
constexpr double kBlock = 1.0;
constexpr int kAside = 2, kWide = 4;
constexpr float kQuantile = 0.6f, kSecond = 0.7f, kFloor = 0.65f, kWideQuantile = 0.75f;
// A lead and band counts with (level / mean - kQuiet)^2 + kLeast: level / mean is 2.3 for noise, 6 to 10 for a clean
// ECG.
constexpr float kQuiet = 2.0f, kLeast = 0.01f;
// noise = mean / level of the fused envelope: 0.10 to 0.15 in a clean ECG, 0.3 at 0 dB, 0.42 in white noise; z is what
// exceeds kCalm. Evidence for a beat: (amplitude / level - threshold) / width, both rising with z, as the amplitudes of
// noise do, and bounded to +-kEvidence so that no artefact outweighs its neighbours. T waves lie near 0.2 of the level,
// small ventricular beats near 0.45. In noise even a maximum as high as a beat is one less often (the odds fall from 20
// to 1 without to 2 to 1 at z = 0.15), and one far above the level no more often: the upper bound falls by kEvidenceFall
// times z.
constexpr float kCalm = 0.16f;
constexpr float kThreshold = 0.31f, kThresholdRise = 0.8f, kWidth = 0.1f, kWidthRise = 0.7f;
constexpr float kEvidence = 2.5f, kEvidenceFall = 5.0f;
// In noise the envelope at 18 Hz over that at 10 Hz tells a QRS complex (above kSharpRatio) from electrode motion and T
// waves: evidence of kSharp times the relative difference, from kLeastSharp (broad complexes are beats too) to kMostSharp,
// beyond which it falls again (muscle noise and pacing spikes are sharper than complexes). In full from z = kSharpNoise
// on; over kSharpFade above kHiss it goes, as white noise is sharp.
constexpr float kSharp = 0.75f, kSharpRatio = 0.85f, kLeastSharp = -0.3f, kMostSharp = 0.5f;
constexpr float kSharpNoise = 0.06f, kSharpFade = 0.05f;
// Where noise exceeds kHiss and the candidates are of very different height, there may be no ECG at all: evidence is
// reduced by kDoubt times both. At 300 beats a minute the noise measure is as high, but all candidates are alike.
constexpr float kHiss = 0.2f, kDoubt = 100.0f;
// Local rhythm: the median interval within kSpan seconds, first between clear candidates (amplitude above kClear), then
// between the beats that the first pass chose. Bounds in seconds.
constexpr float kClear = 0.6f, kSpan = 3.0f, kRhythmDefault = 0.8f, kRhythmMin = 0.2f, kRhythmMax = 1.6f;
constexpr int kMostGaps = 40;  // candidates lie kSeparation apart: at most 2 kSpan / kSeparation = 34 intervals
// An interval below kEarly of the local rhythm costs kEarlyCost per quarter of it, more in noise, where an early "beat"
// is more often an artefact than an ectopic beat. One above kLate costs up to twice kLateCost: the search-back of a
// classical detector.
constexpr float kEarly = 0.8f, kEarlyCost = 0.2f, kEarlyRise = 25.0f, kLate = 1.35f, kLateCost = 1.0f;
constexpr int kLookBack = 6;  // candidates: at least kLookBack * kSeparation = 1.1 s
// Refinement. kRefine, kBaseline: half window around the envelope's maximum and half window of the mean that stands for
// the baseline (s). kInverted: how much larger than the positive deflection of a lead the negative one must be to be
// dominant. kTaper: how quickly, in noise, deflections away from the envelope's maximum lose weight (per s^2).
constexpr double kRefine = 0.07, kBaseline = 0.12;
constexpr float kInverted = 1.5f, kTaper = 40000.0f;
// Where the negative deflection dominates, a positive one before it is the R wave of an RS complex if it is a wave of
// its own: a maximum at most kRS before the first dip of the complex (one with at least kDip of the largest), and
// higher than what precedes it within kNotch by kProminence of the fall that follows, more in noise. The deflection of a
// broad complex (wider than kBroad at half its depth: paced, bundle branch block) develops slowly, so that the R wave
// may be small and early: kBroadRS, kBroadProminence. kFall: where the height from which the wave falls is sought. In s.
constexpr double kRS = 0.045, kBroadRS = 0.12, kNotch = 0.06, kFall = 0.12, kBroad = 0.055, kWidest = 0.2;
// Several leads: the first wave of their sum, with at least kDip of the largest. Where that is broad the leads peak far
// apart, and so it is put to the vote: each lead has its own R wave, by the rule above, and votes for it with what it
// deflects there. The R wave comes first, so the first quarter of the votes decides (kVote). Fewer than kVoters leads
// cannot vote: the quarter would be the earlier of two.
constexpr float kVote = 0.25f;
constexpr int kVoters = 3;
constexpr float kDip = 0.7f, kProminence = 0.13f, kBroadProminence = 0.015f, kProminenceRise = 7.0f;
// The index is the middle of the top of the wave, of the samples within kTop of its height from its extremum at full
// rate: noise and slow ST segments move it less than the extremum, flat tops have one. Half window of the search (s).
constexpr double kFine = 0.024;
constexpr float kTop = 0.25f;
// Quality: the value of the chosen sequence per beat, from kPoor (what noise reaches) to kEvidence; less so where the
// beats are of uneven height (standard deviation over mean, from kEven to kUneven) and the noise above kCalm reaches
// kUneasy: ectopic beats in a calm record may be of any height. Amplitudes above kLargest count as that. Among records
// without noise to speak of, the height of the candidates that are no beats, over that of the beats, takes off kBeside
// of itself.
constexpr float kPoor = 0.9f, kEven = 0.12f, kUneven = 0.45f, kUneasy = 0.08f, kLargest = 2.0f, kBeside = 0.2f;

}  // namespace physioclr::rpeaks
