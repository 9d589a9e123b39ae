"""What `augment` does to a batch: one small frozen dataclass per augmentation, and `Augment`, the plan that holds them.

Strengths are ranges: each record draws its own value, uniformly, from (low, high); a single number stands for both.
`p` is the probability that a record is touched at all. Amplitudes are in mV, so augment before normalising.
Each docstring says where the augmentation comes from and what it may change in the reading of the ECG.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar, Literal

from .._checks import check_choice, check_int, check_number, shown
from .field import Field, bounds
from .text import plan_text

INF = float("inf")


@dataclass(frozen=True)
class BeatShuffle(Field):
    """Permute the complete beats of a record, the same for all leads (PhysioCLR, arXiv 2509.08116).

    p: probability. cut: "r" (published) cuts at the R peaks and keeps every R-to-R stretch; "tp" cuts 0.38 of the RR
    interval before R and blends 8 ms at each joint, which keeps every beat whole.
    Changes the order of the beats: ectopy timing, bigeminy and AV-block sequences are lost. Keeps the mean rate (cut
    "r": every RR interval), the intervals within beats (cut "r" joins halves of different QRS complexes), axis and ST.
    """

    p: float = 0.5
    cut: str = "r"
    name: ClassVar[str] = "beat_shuffle"

    def __post_init__(self) -> None:
        self._check(p=self._probability(), cut=check_choice(self.cut, "beat_shuffle.cut", ("r", "tp")))

    def _settings(self) -> tuple[float, ...]:
        return (float(self.cut == "tp"),)


@dataclass(frozen=True)
class TimeWarp(Field):
    """Run time a little faster here and slower there, smoothly; the ends of the record stay (Um et al. 2017).

    p: probability. speed: largest deviation from 1 in a record, at most 0.5; three half-waves over the record with
    random shares make the course. Samples are read by cubic convolution (Keys 1981). R peaks are carried along.
    Changes the heart rate and all intervals (PR, QRS, QT) by at most `speed`; keeps amplitudes, axis and ST.
    """

    p: float = 0.5
    speed: tuple[float, float] = (0.0, 0.05)
    name: ClassVar[str] = "time_warp"

    def __post_init__(self) -> None:
        self._check(p=self._probability(), speed=bounds(self.speed, "time_warp.speed", 0.0, 0.5))

    def _settings(self) -> tuple[float, ...]:
        return self.speed


@dataclass(frozen=True)
class RrScale(Field):
    """Make every RR interval `factor` times as long, as another heart rate would. Needs rpeaks.

    p: probability. factor: range, within 0.5 to 2. From the P onset to the end of QRS nothing stretches, the QT
    interval goes with the cube root of the factor (Fridericia 1920), and TP takes the rest, but keeps a quarter of its
    length, so that fast rhythms change less. Boundaries are taken where they usually are, relative to R and RR
    (core/time_map.h). The first R peak stays; what no longer fits falls off the end, and what is missing there is 0.
    Changes the rate by the factor and QT with its cube root; keeps PR, QRS, axis and ST, the QTc nearly.
    """

    p: float = 0.5
    factor: tuple[float, float] = (0.85, 1.15)
    name: ClassVar[str] = "rr_scale"

    def __post_init__(self) -> None:
        self._check(p=self._probability(), factor=bounds(self.factor, "rr_scale.factor", 0.5, 2.0))

    def _settings(self) -> tuple[float, ...]:
        return self.factor


@dataclass(frozen=True)
class Crop(Field):
    """Keep a random window, put it at a random place, and pad with zeros: no resizing, so every interval stays.

    p: probability. kept: share of the record that is kept (the cropping of Um et al. 2017 without the resizing of
    images, which would change the rate). Loses the beats outside the window, so what shows only there; keeps rate,
    intervals, axis and ST of the others.
    """

    p: float = 0.5
    kept: tuple[float, float] = (0.8, 1.0)
    name: ClassVar[str] = "crop"

    def __post_init__(self) -> None:
        self._check(p=self._probability(), kept=bounds(self.kept, "crop.kept", 0.0, 1.0))

    def _settings(self) -> tuple[float, ...]:
        return self.kept


@dataclass(frozen=True)
class TimeMask(Field):
    """Set one to three spans of all leads to zero (after SpecAugment's time masking, Park et al. 2019).

    p: probability. duration: of a span, s. spans: how many, (fewest, most), at most 8. most: largest share of the
    record that is masked. away_from_qrs: seconds kept free on either side of each QRS complex (taken as 50 ms on
    either side of the R peak), which needs rpeaks; None masks anywhere.
    Hides waves and beats: what shows only there is lost, and away_from_qrs keeps the rate readable. Keeps intervals,
    axis and ST of what is not masked. Missing samples stay missing.
    """

    p: float = 0.5
    duration: tuple[float, float] = (0.08, 0.3)
    spans: tuple[int, int] = (1, 3)
    most: float = 0.15
    away_from_qrs: float | None = None
    name: ClassVar[str] = "time_mask"

    def __post_init__(self) -> None:
        bounds(self.spans, "time_mask.spans", 0, 8)
        spans = (self.spans, self.spans) if isinstance(self.spans, (int, float)) else self.spans
        away = self.away_from_qrs
        self._check(
            p=self._probability(),
            duration=bounds(self.duration, "time_mask.duration", 0.0, INF, "s"),
            spans=tuple(check_int(n, "time_mask.spans", 0) for n in spans),
            most=check_number(self.most, "time_mask.most", 0.0, 1.0),
            away_from_qrs=None if away is None else check_number(away, "time_mask.away_from_qrs", 0.0, INF, unit="s"),
        )

    def _settings(self) -> tuple[float, ...]:
        guard = -1.0 if self.away_from_qrs is None else self.away_from_qrs + 0.05
        return (*self.duration, *map(float, self.spans), self.most, guard)


@dataclass(frozen=True)
class LeadDropout(Field):
    """Set whole leads to zero, each with the probability `lead` (random lead masking, Oh et al. 2022; PhysioCLR).

    p: probability that a record is touched. kept: fewest leads that stay. dropped: most leads that go, None = no limit.
    Changes what can be located: axis, territory of ST changes, R progression. Keeps rate and intervals.
    """

    p: float = 1.0
    lead: float = 0.25
    kept: int = 2
    dropped: int | None = None
    name: ClassVar[str] = "lead_dropout"

    def __post_init__(self) -> None:
        self._check(
            p=self._probability(),
            lead=check_number(self.lead, "lead_dropout.lead", 0.0, 1.0),
            kept=check_int(self.kept, "lead_dropout.kept", 0, 2**31),
            dropped=None if self.dropped is None else check_int(self.dropped, "lead_dropout.dropped", 0, 2**31),
        )

    def _settings(self) -> tuple[float, ...]:
        return self.lead, float(self.kept), float(2**31 if self.dropped is None else self.dropped)


@dataclass(frozen=True)
class VcgRotation(Field):
    """Turn the heart's electrical axis: x + D (R - I) D+ x, with Dower's matrix D (1980) and its least-squares inverse.

    p: probability. angle: range of the angles about the X, Y and Z axes, degrees. What a dipole does not explain stays.
    Where one of I, II, V1 to V6 is missing, nothing turns. Twelve leads only: other records are left as they are.
    Changes the axis and R progression by about the angle, ST vectors with them. Keeps rate and intervals.
    """

    p: float = 0.5
    angle: tuple[float, float] = (-15.0, 15.0)
    name: ClassVar[str] = "vcg_rotation"

    def __post_init__(self) -> None:
        angle = (-self.angle, self.angle) if isinstance(self.angle, (int, float)) else self.angle
        self._check(p=self._probability(), angle=bounds(angle, "vcg_rotation.angle", -180.0, 180.0, "degrees"))

    def _settings(self) -> tuple[float, ...]:
        return self.angle


@dataclass(frozen=True)
class AmplitudeScale(Field):
    """Multiply all leads by one gain (the scaling of Um et al. 2017, common to all channels).

    p: probability. gain: range. The gain is common to the leads, because a gain per lead would move the axis and break
    I + III = II. Changes voltage criteria (low voltage, hypertrophy) and ST deviations in proportion. Keeps rate,
    intervals and axis.
    """

    p: float = 0.5
    gain: tuple[float, float] = (0.8, 1.25)
    name: ClassVar[str] = "amplitude_scale"

    def __post_init__(self) -> None:
        self._check(p=self._probability(), gain=bounds(self.gain, "amplitude_scale.gain", 0.0, INF))

    def _settings(self) -> tuple[float, ...]:
        return self.gain


@dataclass(frozen=True)
class BaselineWander(Field):
    """Add slow drift: one tone of respiration and two of electrode drift, drawn for each electrode.

    p: probability. amplitude: largest excursion in any lead, mV. band: Hz; respiration takes its part above 0.15 Hz.
    The three tones are common to the leads, their shares and phases are not (after the noise model of McSharry et
    al. 2003 and the wander records of the MIT-BIH noise stress test). Moves the ST level by as much as its amplitude.
    Keeps rate, intervals and axis.
    """

    p: float = 0.5
    amplitude: tuple[float, float] = (0.0, 0.2)
    band: tuple[float, float] = (0.05, 0.5)
    name: ClassVar[str] = "baseline_wander"

    def __post_init__(self) -> None:
        self._check(
            p=self._probability(),
            amplitude=bounds(self.amplitude, "baseline_wander.amplitude", 0.0, INF, "mV"),
            band=bounds(self.band, "baseline_wander.band", 0.0, 5.0, "Hz"),
        )

    def _settings(self) -> tuple[float, ...]:
        return (*self.amplitude, *self.band)


@dataclass(frozen=True)
class Powerline(Field):
    """Add mains hum with its second (up to 10 %) and third harmonic (up to 30 % of the fundamental; after Friesen et
    al. 1990, who add the mains and its harmonics to test QRS detectors).

    p: probability. amplitude: largest excursion in any lead, mV. frequency: Hz, or None for 50 or 60 by chance.
    Components above 0.45 fs are left out, so below 111 Hz (50) or 133 Hz (60) sampling nothing is added.
    May hide P waves of the same size. Changes no rate, interval, axis or mean ST level.
    """

    p: float = 0.5
    amplitude: tuple[float, float] = (0.005, 0.03)
    frequency: float | None = None
    name: ClassVar[str] = "powerline"

    def __post_init__(self) -> None:
        f = self.frequency
        self._check(
            p=self._probability(),
            amplitude=bounds(self.amplitude, "powerline.amplitude", 0.0, INF, "mV"),
            frequency=None if f is None else check_number(f, "powerline.frequency", 1.0, 1000.0, unit="Hz"),
        )

    def _settings(self) -> tuple[float, ...]:
        return (*self.amplitude, 0.0 if self.frequency is None else self.frequency)


@dataclass(frozen=True)
class MuscleNoise(Field):
    """Add band-limited noise in bursts: the part of surface EMG that an ECG amplifier passes (after the muscle artefact
    of the MIT-BIH noise stress test, Moody et al. 1984).

    p: probability. rms: at the height of a burst, mV, in I, II and III; drawn per electrode, between half and all of
    it. band: Hz, cut at 0.45 fs. One to four bursts of 0.5 to 2 s on a floor of a fifth. Hides P waves (a P wave is
    about 0.12 mV) and fakes fibrillation waves. Changes no rate, interval, axis or mean ST level.
    """

    p: float = 0.5
    rms: tuple[float, float] = (0.005, 0.04)
    band: tuple[float, float] = (20.0, 120.0)
    name: ClassVar[str] = "muscle_noise"

    def __post_init__(self) -> None:
        self._check(
            p=self._probability(),
            rms=bounds(self.rms, "muscle_noise.rms", 0.0, INF, "mV"),
            band=bounds(self.band, "muscle_noise.band", 0.0, 2000.0, "Hz"),
        )

    def _settings(self) -> tuple[float, ...]:
        return (*self.rms, *self.band)


@dataclass(frozen=True)
class GaussianNoise(Field):
    """Add white Gaussian noise (the jittering of Um et al. 2017).

    p: probability. sd: standard deviation, mV. Twelve leads: drawn per electrode and mixed as the leads are defined, so
    that I + III = II holds; `sd` is that of I, II and III, the augmented leads have 0.87 and V1 to V6 0.82 of it. Any
    other number of leads: independent noise of `sd` on each. May hide small P waves. Changes no rate, interval, axis or
    mean ST level.
    """

    p: float = 0.5
    sd: tuple[float, float] = (0.005, 0.02)
    name: ClassVar[str] = "gaussian_noise"

    def __post_init__(self) -> None:
        self._check(p=self._probability(), sd=bounds(self.sd, "gaussian_noise.sd", 0.0, INF, "mV"))

    def _settings(self) -> tuple[float, ...]:
        return self.sd


FIELDS: dict[str, type[Field]] = {
    c.name: c
    for c in (
        BeatShuffle, TimeWarp, RrScale, Crop, TimeMask, LeadDropout, VcgRotation, AmplitudeScale, BaselineWander,
        Powerline, MuscleNoise, GaussianNoise,
    )
}  # fmt: skip


class _Told:
    _text: str  # the plan as the operators take it


@dataclass(frozen=True)
class Augment(_Told):
    """A plan for `augment`: one field per augmentation, None = off, True = with its defaults.

        plan = Augment(gaussian_noise=GaussianNoise(sd=(0.005, 0.02)), lead_dropout=True)

    The order of application is fixed (time map, lead mix, gain, additive noise, mask), whatever is switched on, and
    every augmentation draws from its own random stream: switching one on or off does not change the others.
    `Augment.standard()` switches on every field with its defaults; `Augment.preserving()` keeps to what leaves the
    diagnostic category as it was.
    """

    beat_shuffle: BeatShuffle | None = None
    time_warp: TimeWarp | None = None
    rr_scale: RrScale | None = None
    crop: Crop | None = None
    time_mask: TimeMask | None = None
    lead_dropout: LeadDropout | None = None
    vcg_rotation: VcgRotation | None = None
    amplitude_scale: AmplitudeScale | None = None
    baseline_wander: BaselineWander | None = None
    powerline: Powerline | None = None
    muscle_noise: MuscleNoise | None = None
    gaussian_noise: GaussianNoise | None = None

    if TYPE_CHECKING:  # True stands for a field's defaults, which reading it gives

        def __init__(
            self,
            beat_shuffle: BeatShuffle | Literal[True] | None = None,
            time_warp: TimeWarp | Literal[True] | None = None,
            rr_scale: RrScale | Literal[True] | None = None,
            crop: Crop | Literal[True] | None = None,
            time_mask: TimeMask | Literal[True] | None = None,
            lead_dropout: LeadDropout | Literal[True] | None = None,
            vcg_rotation: VcgRotation | Literal[True] | None = None,
            amplitude_scale: AmplitudeScale | Literal[True] | None = None,
            baseline_wander: BaselineWander | Literal[True] | None = None,
            powerline: Powerline | Literal[True] | None = None,
            muscle_noise: MuscleNoise | Literal[True] | None = None,
            gaussian_noise: GaussianNoise | Literal[True] | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        rows: dict[str, tuple[float, ...]] = {}
        for name, cls in FIELDS.items():
            value = getattr(self, name)
            if value is True:
                value = cls()
                object.__setattr__(self, name, value)
            if value is None:
                continue
            if not isinstance(value, cls):
                raise TypeError(f"{name} is {shown(value)}; it must be {cls.__name__}(...), True or None")
            rows[name] = (value.p, *value._settings())
        object.__setattr__(self, "_text", plan_text(rows))

    @property
    def needs_rpeaks(self) -> bool:
        """Whether a field looks at the R peaks, so that `augment` needs them."""
        away = self.time_mask is not None and self.time_mask.away_from_qrs is not None
        return away or self.beat_shuffle is not None or self.rr_scale is not None

    @classmethod
    def standard(cls) -> Augment:
        """Every augmentation with its default strength. Needs R peaks."""
        on: dict[str, Literal[True]] = {f.name: True for f in fields(cls)}
        return cls(**on)

    @classmethod
    def preserving(cls) -> Augment:
        """The preset that keeps the diagnostic category: weak, and nothing that reorders beats. Needs R peaks."""
        return cls(
            time_warp=TimeWarp(speed=(0.0, 0.02)),
            time_mask=TimeMask(most=0.08, away_from_qrs=0.06),
            lead_dropout=LeadDropout(dropped=2),
            vcg_rotation=VcgRotation(angle=(-5.0, 5.0)),
            amplitude_scale=AmplitudeScale(gain=(0.9, 1.1)),
            baseline_wander=BaselineWander(amplitude=(0.0, 0.05)),
            powerline=Powerline(amplitude=(0.005, 0.015)),
            muscle_noise=MuscleNoise(rms=(0.005, 0.015)),
            gaussian_noise=GaussianNoise(sd=(0.005, 0.01)),
        )
