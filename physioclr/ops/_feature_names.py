"""Names of the 159 features, in column order. Plain data, shared by the op, `FeatureSpace` and the reference."""

PER_BEAT = ("rr", "pr", "qrs", "qtc", "p_dur", "t_dur", "r_amp", "t_amp", "p_amp", "qrs_slope")
N_BEATS = 10
STATISTICS = ("mean", "sd", "median", "iqr")
SCALARS = (
    "rmssd",
    "pnn50",
    "cv_rr",
    "pct_rr_short",
    "pct_pr_gt_200",
    "pct_qrs_ge_120",
    "pct_qrs_100_119",
    "pct_qtc_ge_500",
    "pct_p_absent",
    "pct_t_inverted",
    "pct_st_abnormal",
    "st_mad",
    "beat_corr_mean",
    "beat_corr_sd",
    "beat_corr_min",
)

BEAT_NAMES = tuple(f"{q}_beat{k}" for q in PER_BEAT for k in range(N_BEATS))
SEGMENT_NAMES = tuple(f"{q}_{s}" for q in (*PER_BEAT, "st") for s in STATISTICS) + SCALARS
FEATURE_NAMES = BEAT_NAMES + SEGMENT_NAMES
N_FEATURES = len(FEATURE_NAMES)
