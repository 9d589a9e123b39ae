"""Files that recorders write: EDF, EDF+ and BDF (by pyedflib), DICOM waveforms (by pydicom)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..ops._checks import STANDARD_LEADS
from .extras import pydicom, pyedflib
from .metadata import folder_name, parse_age, parse_sex
from .record_table import record_key
from .resample import resample
from .sources import FORMATS, Searched, bare_row, files_below, folder_of
from .wfdb_header import millivolts_of
from .wfdb_source import FS_RANGE, Record, RecordError

_STANDARD = {lead.casefold(): lead for lead in STANDARD_LEADS}


class _FileSource(Searched):
    """One record per file."""

    zero_ends = False
    bare = False
    format = ""

    def settings(self) -> dict[str, Any]:
        return {"format": self.format}

    def table(self) -> Path | None:
        return None

    def check(self) -> None:
        pass

    def close(self) -> None:
        pass

    def _library(self) -> Any:
        raise NotImplementedError

    def _read(self, file: Path) -> tuple[Record, dict[str, Any]]:
        raise NotImplementedError

    def records(self) -> Iterator[str]:
        self._library()
        found: set[str] = set()
        for name in files_below(self.path, FORMATS[self.format], self._tell):
            key = record_key(name)
            file = self._file(key)
            if file is not None and file.name != Path(name).name:
                self._tell(name, f"{file.name} beside it is read")
            elif key not in found:
                found.add(key)
                yield key

    def _file(self, record_id: str) -> Path | None:
        """The file of a record: of two that differ in their suffix the first in the order of FORMATS."""
        stem = folder_of(self.path) / record_id
        suffixes = [s for s in FORMATS[self.format] for s in (s, s.upper())]
        return next((p for s in suffixes if (p := stem.with_name(stem.name + s)).is_file()), None)

    def read(self, record_id: str) -> tuple[Record, dict[str, Any]]:
        folder, file = folder_of(self.path), self._file(record_id)
        if file is None:
            raise RecordError(f"the file {record_id}{FORMATS[self.format][0]} is missing")
        record, known = self._read(file)
        return record, bare_row(folder_name(folder, record_id), record_id) | known


def lead_name(label: str) -> str:
    """The standard lead that a label means ("ECG aVR-Ref", "Lead V1", "EKG II"), or the label as it is."""
    word = re.sub(r"^(?:ECG|EKG|LEAD)[\s_:-]*", "", label.strip(), flags=re.IGNORECASE)
    word = re.sub(r"^LEAD[\s_:-]*", "", word, flags=re.IGNORECASE)
    word = re.sub(r"[\s_-]*(?:REF|\(.*\))$", "", word, flags=re.IGNORECASE)
    return _STANDARD.get(word.casefold(), label.strip())


# ---- EDF ----------------------------------------------------------------------------------------------------------


class EdfSource(_FileSource):
    """EDF, EDF+ and BDF files. Of leads at several rates the slower ones are resampled to the highest."""

    format = "edf"

    def _library(self) -> Any:
        return pyedflib()

    def _read(self, file: Path) -> tuple[Record, dict[str, Any]]:
        library = self._library()
        with open(file, "rb"):  # what the system says of the file; pyedflib's own errors have no number
            pass
        try:
            reader = library.EdfReader(str(file))
        except OSError as e:
            raise RecordError(f"{file.name} is not a readable EDF file: {e}") from None
        try:
            return self._signals(reader, file), self._patient(reader)
        finally:
            reader.close()

    def _signals(self, reader: Any, file: Path) -> Record:
        n = reader.signals_in_file
        labels = [lead_name(reader.getLabel(k)) for k in range(n)]
        rows = [k for k in range(n) if labels[k] in STANDARD_LEADS] or list(range(n))
        if not rows:
            raise RecordError(f"{file.name} has no signals")
        for k in rows:
            if reader.getDigitalMinimum(k) == reader.getDigitalMaximum(k):  # pyedflib would take 1 unit a step
                raise RecordError(f"lead {labels[k]} has equal digital minimum and maximum, which gives it no scale")
        rates = [float(reader.getSampleFrequency(k)) for k in rows]
        fs = max(rates)
        if not FS_RANGE[0] <= fs <= FS_RANGE[1]:
            raise RecordError(f"the sampling rate is {fs:g} Hz; it must be {FS_RANGE[0]:g} to {FS_RANGE[1]:g} Hz")
        signals = [np.asarray(reader.readSignal(k), np.float32) for k in rows]
        signals = [x if r == fs else resample(x[None], r, fs)[0] for x, r in zip(signals, rates, strict=True)]
        length = min(map(len, signals))
        scale = np.array([millivolts_of(reader.getPhysicalDimension(k)) for k in rows])
        samples = np.array([x[:length] for x in signals])
        units = {k: reader.getPhysicalDimension(k).strip() for k in range(n) if k not in rows}
        left_out = tuple(f"{labels[k]} ({unit})" for k, unit in units.items() if np.isnan(millivolts_of(unit)))
        leads = [labels[k] for k in rows]
        return Record(samples, scale, np.zeros(len(rows)), fs, leads, [], tuple(rates), left_out)

    def _patient(self, reader: Any) -> dict[str, Any]:
        """Of EDF+: the patient's code or name, sex, and the age at the start of the recording."""
        known: dict[str, Any] = {"sex": parse_sex(str(reader.getSex() or ""))}
        known["patient_id"] = (str(reader.getPatientCode() or "") or str(reader.getPatientName() or "")).strip()
        if known["patient_id"] in ("X", "x"):  # what EDF+ writes for "unknown"
            known["patient_id"] = ""
        try:
            import datetime

            born = datetime.datetime.strptime(reader.getBirthdate(string=True), "%d %b %Y")
            known["age"] = parse_age(str((reader.getStartdatetime() - born).days // 365.2425))
        except ValueError:  # none, or not as EDF+ writes it
            pass
        return known


# ---- DICOM --------------------------------------------------------------------------------------------------------

# Leads by their code where the meaning is in another language: MDC (ISO 11073-10102) and SCP-ECG.
_NUMBERS = {
    "I": 1,
    "II": 2,
    "V1": 3,
    "V2": 4,
    "V3": 5,
    "V4": 6,
    "V5": 7,
    "V6": 8,
    "III": 61,
    "aVR": 62,
    "aVL": 63,
    "aVF": 64,
}
_LEAD_OF_CODE = {code: lead for lead, n in _NUMBERS.items() for code in (f"2:{n}", f"5.6.3-9-{n}")}


class DicomSource(_FileSource):
    """DICOM ECG objects: of the waveforms of a file the one with most standard leads, the longest of these."""

    format = "dicom"

    def _library(self) -> Any:
        return pydicom()

    def _read(self, file: Path) -> tuple[Record, dict[str, Any]]:
        library = self._library()
        try:
            dataset = library.dcmread(file)
        except (OSError, MemoryError):
            raise
        except Exception as e:  # pydicom raises many kinds for damaged files
            raise RecordError(f"{file.name} is not a readable DICOM file: {type(e).__name__}: {e}") from None
        try:
            groups = list(getattr(dataset, "WaveformSequence", None) or ())
            if not groups:
                raise RecordError(f"{file.name} has no waveform")
            index = max(range(len(groups)), key=lambda k: _rank(groups[k]))
            record = _waveform(library, dataset, index)
        except RecordError:
            raise
        except (AttributeError, KeyError, IndexError, TypeError, ValueError, NotImplementedError) as e:
            raise RecordError(f"the waveform of {file.name} cannot be read: {type(e).__name__}: {e}") from None
        age = str(getattr(dataset, "PatientAge", "") or "")
        years = {"Y": 1.0, "M": 12.0, "W": 52.18, "D": 365.25}
        parts = re.fullmatch(r"(\d{1,3})([YMWD])", age)
        known = {"patient_id": str(getattr(dataset, "PatientID", "") or "").strip()}
        known["sex"] = parse_sex(str(getattr(dataset, "PatientSex", "") or ""))
        return record, known | {"age": parse_age(str(int(parts[1]) / years[parts[2]])) if parts else None}


def _rank(group: Any) -> tuple[int, int]:
    return len({_channel_lead(c) for c in group.ChannelDefinitionSequence} & set(STANDARD_LEADS)), int(
        group.NumberOfWaveformSamples
    )


def _channel_lead(channel: Any) -> str:
    source = (getattr(channel, "ChannelSourceSequence", None) or [None])[0]
    meaning = str(getattr(source, "CodeMeaning", "") or getattr(channel, "ChannelLabel", "") or "")
    name = lead_name(meaning)
    return _LEAD_OF_CODE.get(str(getattr(source, "CodeValue", "")), name) if name not in STANDARD_LEADS else name


def _waveform(library: Any, dataset: Any, index: int) -> Record:
    """Samples in the units of each channel: raw * sensitivity * correction + baseline (DICOM PS3.3 C.10.9).

    A channel that begins later than the group, by half a sample or more (ChannelSampleSkew, ChannelTimeSkew), is put
    where it was recorded; what that leaves empty is missing.
    """
    from pydicom.waveforms import multiplex_array

    group = dataset.WaveformSequence[index]
    fs = float(group.SamplingFrequency)
    if not FS_RANGE[0] <= fs <= FS_RANGE[1]:
        raise RecordError(f"the sampling rate is {fs:g} Hz; it must be {FS_RANGE[0]:g} to {FS_RANGE[1]:g} Hz")
    if str(group.WaveformSampleInterpretation) in ("MB", "AB"):  # pydicom gives their codes as numbers
        raise RecordError("its samples are compressed by mu-law or A-law, which ECG objects may not be")
    raw = multiplex_array(dataset, index, as_raw=True)  # (samples, channels)
    missing = np.zeros(raw.shape, bool)
    padding = getattr(group, "WaveformPaddingValue", None)
    if padding is not None:
        value = np.frombuffer(padding, raw.dtype)[0] if isinstance(padding, bytes) else padding
        missing = raw == value
    samples = np.empty(raw.shape[::-1], np.float32)
    leads, scale = [], []
    for k, channel in enumerate(group.ChannelDefinitionSequence):
        leads.append(_channel_lead(channel))
        factor = float(getattr(channel, "ChannelSensitivity", 1.0) or 1.0)
        factor *= float(getattr(channel, "ChannelSensitivityCorrectionFactor", 1.0) or 1.0)
        samples[k] = raw[:, k] * factor + float(getattr(channel, "ChannelBaseline", 0.0) or 0.0)
        units = (getattr(channel, "ChannelSensitivityUnitsSequence", None) or [None])[0]
        scale.append(millivolts_of(str(getattr(units, "CodeValue", ""))))
        samples[k, missing[:, k]] = np.nan
        seconds = float(getattr(channel, "ChannelTimeSkew", 0.0) or 0.0)
        skew = round(float(getattr(channel, "ChannelSampleSkew", 0.0) or 0.0) or seconds * fs)
        if skew:
            samples[k] = _later(samples[k], skew)
    return Record(samples, np.array(scale), np.zeros(len(leads)), fs, leads, [])


def _later(x: np.ndarray, n: int) -> np.ndarray:
    """x as many samples later, or earlier; the rest is missing."""
    out = np.full_like(x, np.nan)
    kept = max(len(x) - abs(n), 0)
    if n > 0:
        out[len(x) - kept :] = x[:kept]
    else:
        out[:kept] = x[len(x) - kept :]
    return out
