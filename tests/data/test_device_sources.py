"""Files that recorders write: EDF, EDF+ and BDF, DICOM."""

import datetime
import shutil

import numpy as np
import pytest
from wfdb_files import LEADS, ecg_like

import physioclr as pc
from physioclr.data.device_sources import DicomSource, EdfSource, lead_name
from physioclr.data.wfdb_source import RecordError


def prepared(src, dest, **settings):
    report = pc.data.prepare(src, dest, **settings)
    return report, pc.data.open_store(dest)


def millivolts(rng):
    return ecg_like(rng) / 1000


# ---- EDF ----------------------------------------------------------------------------------------------------------


def write_edf(path, x, fs=500, labels=LEADS, unit="uV", rates=None, **header):
    pyedflib = pytest.importorskip("pyedflib")
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = pyedflib.EdfWriter(str(path), len(x), file_type=pyedflib.FILETYPE_EDFPLUS)
    limit = {"uV": 5000.0, "mV": 5.0, "mmHg": 5000.0}[unit]
    writer.setSignalHeaders(
        [
            {"label": label, "dimension": unit, "sample_frequency": rate, "physical_min": -limit, "physical_max": limit,
             "digital_min": -32768, "digital_max": 32767, "transducer": "", "prefilter": ""}
            for label, rate in zip(labels, rates or [fs] * len(x), strict=True)
        ]
    )  # fmt: skip
    writer.setHeader({"technician": "", "recording_additional": "", "patientname": "X", "patient_additional": "",
                      "patientcode": "", "equipment": "", "admincode": "", "sex": "", "birthdate": "",
                      "startdate": datetime.datetime(2020, 6, 1)} | header)  # fmt: skip
    writer.writeSamples([np.ascontiguousarray(row, np.float64) for row in x])
    writer.close()


def test_edf(tmp_path, rng):
    x, src = millivolts(rng), tmp_path / "src"
    born = datetime.date(1960, 5, 1)
    write_edf(src / "w" / "a.edf", x * 1000, patientcode="P7", sex="Female", birthdate=born)
    write_edf(src / "b.EDF", np.vstack([x, x[:1]]), labels=[*(f"ECG {n}-Ref" for n in LEADS), "Resp"], unit="mV")
    write_edf(src / "c.edf", x * 1000, unit="mmHg")
    (src / "d.edf").write_bytes(b"0       nonsense")
    report, store = prepared(src, tmp_path / "store")
    skipped = dict(report.skipped())
    assert skipped.keys() == {"c", "d"} and skipped["c"] == "lead I is not in volts"
    assert "d.edf is not a readable EDF file" in skipped["d"]
    assert list(store.table["record_id"]) == ["b", "w/a"]
    for i in range(2):
        np.testing.assert_allclose(store.read(i), x, atol=1e-3)
    assert list(store.table["patient_id"]) == ["", "P7"] and list(store.table["sex"]) == ["", "F"]
    assert np.isnan(store.table["age"][0]) and store.table["age"][1] == 60


def test_edf_of_several_rates(tmp_path):
    """The slower leads come to the rate of the fastest: a sine keeps its form."""
    t = {fs: np.arange(10 * fs) / fs for fs in (250, 500)}
    rates = [500, 500, *[250] * 10]
    x = [np.sin(2 * np.pi * 5 * t[fs]) for fs in rates]
    write_edf(tmp_path / "src" / "r.edf", [row * 1000 for row in x], rates=rates)
    _, store = prepared(tmp_path / "src", tmp_path / "store")
    np.testing.assert_allclose(store.read(0)[:, 250:-250], np.tile(x[0][250:-250], (12, 1)), atol=0.01)


def edf_bytes(signals, *, reserved="", bits=16, start=("01.06.20", "12.00.00")):
    """A file as the standard lays it out. signals: label, unit, physical and digital limits, samples a record, values
    (or bytes) of ten records of 1 s."""
    width = bits // 8

    def text(values, n):
        return b"".join((v if isinstance(v, bytes) else str(v).encode("ascii")).ljust(n) for v in values)

    columns = list(zip(*signals, strict=True))
    head = text([b"\xffBIOSEMI" if bits == 24 else 0], 8) + text(["X X X X", "Startdate 01-JUN-2020 X X X"], 80)
    head += text(start, 8) + text([256 * (len(signals) + 1)], 8) + text([reserved], 44) + text([10, 1], 8)
    head += text([len(signals)], 4) + text(columns[0], 16) + text([""] * len(signals), 80) + text(columns[1], 8)
    for column in columns[2:6]:
        head += text(column, 8)
    head += text([""] * len(signals), 80) + text(columns[6], 8) + text([""] * len(signals), 32)
    for r in range(10):
        for *_, n, x in signals:
            part = x[r] if isinstance(x, list) else x[r * n : (r + 1) * n]
            head += (
                part
                if isinstance(part, bytes)
                else b"".join(int(v).to_bytes(width, "little", signed=True) for v in part)
            )
    return head


def times(starts, n=30):
    """The annotations of EDF+: when each data record begins."""
    x = [(b"+%d\x14\x14\0" % t).ljust(2 * n, b"\0") for t in starts]
    return "EDF Annotations", "", -1, 1, -32768, 32767, n, x


def leads_of(x, unit="uV", limits=(-3276.8, 3276.7), digital=(-32768, 32767)):
    return [(name, unit, *limits, *digital, 500, row) for name, row in zip(LEADS, x, strict=True)]


def test_edf_as_recorders_write_it(tmp_path, rng):
    """Annotations first, a physical range that turns the sign, one with an offset, 24 bits, other units."""
    pytest.importorskip("pyedflib")
    x = ecg_like(rng)
    truth = x / 1e4  # 0.1 uV a step
    files = {
        "plain.edf": (edf_bytes(leads_of(x)), truth),
        "times_first.edf": (edf_bytes([times(range(10)), *leads_of(x)], reserved="EDF+C"), truth),
        "turned.edf": (edf_bytes(leads_of(x, limits=(3276.8, -3276.7))), -truth),
        "offset.edf": (edf_bytes(leads_of(x, limits=(0, 6553.5))), truth + 3.2768),
        "mv.edf": (edf_bytes(leads_of(x, "mV", (-32.768, 32.767))), x / 1e3),
        "volts.edf": (edf_bytes(leads_of(x, "V", ("-.032768", ".032767"))), x / 1e3),
        "wide.bdf": (edf_bytes(leads_of(10 * x, "uV", (-838860, 838860), (-8388600, 8388600)), bits=24), x / 1e3),
    }
    for name, (raw, _) in files.items():
        (tmp_path / name).write_bytes(raw)
    source = EdfSource(tmp_path)
    assert set(source.records()) == {name.partition(".")[0] for name in files}
    for name, (_, mv) in files.items():
        record, _ = source.read(name.partition(".")[0])
        np.testing.assert_allclose(record.millivolts(), mv, rtol=3e-5, atol=1e-4, err_msg=name)
        assert record.fs == 500 and record.leads == list(LEADS)


@pytest.mark.parametrize(
    ("settings", "reserved", "starts", "message"),
    [
        ({}, "EDF+D", (0, 1, 2, 3, 4, 9, 10, 11, 12, 13), "discontinuous"),
        ({"digital": (0, 0)}, "", None, "lead I has equal digital minimum and maximum"),
        ({"limits": (5, 5)}, "", None, "Physical"),
        ({"unit": ""}, "", None, "lead I is not in volts"),
        ({"unit": b"\xb5V"}, "", None, "Physical Dimension"),
    ],
)
def test_edf_that_is_refused(tmp_path, rng, settings, reserved, starts, message):
    """Rather an error than a guess: a gap that would be closed, a scale or a unit that nobody knows."""
    pytest.importorskip("pyedflib")
    signals = leads_of(ecg_like(rng), **settings)
    (tmp_path / "src").mkdir()
    raw = edf_bytes([*signals, times(starts)] if starts else signals, reserved=reserved)
    (tmp_path / "src" / "a.edf").write_bytes(raw)
    report = pc.data.prepare(tmp_path / "src", tmp_path / "store")
    assert report.n_records == 0 and message in dict(report.skipped())["a"]


@pytest.mark.parametrize(
    ("label", "lead"),
    [("ECG aVR-Ref", "aVR"), ("EKG II", "II"), ("Lead V1", "V1"), ("ECG Lead III", "III"), ("Lead I (Einthoven)", "I"),
     ("v6", "V6"), ("Resp", "Resp"), ("ECG", "ECG"), ("I", "I")],
)  # fmt: skip
def test_names_of_leads(label, lead):
    assert lead_name(label) == lead


def test_two_files_of_one_name(tmp_path, rng):
    """Their ids are the same: one is read, the other named."""
    pytest.importorskip("pyedflib")
    x = ecg_like(rng)
    (tmp_path / "a.EDF").write_bytes(edf_bytes(leads_of(x)))
    wide = leads_of(x, "uV", (-838860, 838860), (-8388600, 8388600))
    (tmp_path / "a.bdf").write_bytes(edf_bytes(wide, bits=24))
    report, store = prepared(tmp_path, tmp_path.with_name("store"))
    assert list(store.table["record_id"]) == ["a"] and report.remarks == (
        "a.bdf: passed over: a.EDF beside it is read",
    )
    np.testing.assert_allclose(store.read(0), x / 1e4, atol=1e-3)


# ---- DICOM --------------------------------------------------------------------------------------------------------


def write_dicom(path, raw, fs=500, names=LEADS, sensitivity=2.5, baseline=0.0, correction=1.0, unit="uV", codes=None,
                padding=None):  # fmt: skip
    """raw (L, T) int16; mV of a sample: (raw * sensitivity * correction + baseline) uV."""
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.sequence import Sequence

    def code(value, meaning):
        d = Dataset()
        d.CodeValue, d.CodingSchemeDesignator, d.CodeMeaning = value, "MDC", meaning
        return Sequence([d])

    channels = []
    for k, name in enumerate(names):
        channel = Dataset()
        channel.ChannelSourceSequence = code(codes[k], "Ableitung") if codes else code(f"x:{k}", f"Lead {name}")
        channel.ChannelSensitivity, channel.ChannelSensitivityCorrectionFactor = sensitivity, correction
        channel.ChannelSensitivityUnitsSequence = code(unit, unit)
        channel.ChannelBaseline, channel.WaveformBitsStored = baseline, 16
        channels.append(channel)
    group = Dataset()
    group.MultiplexGroupTimeOffset, group.WaveformOriginality = 0, "ORIGINAL"
    group.NumberOfWaveformChannels, group.NumberOfWaveformSamples = raw.shape
    group.SamplingFrequency, group.ChannelDefinitionSequence = fs, Sequence(channels)
    group.WaveformBitsAllocated, group.WaveformSampleInterpretation = 16, "SS"
    group.WaveformData = np.ascontiguousarray(raw.T, "<i2").tobytes()
    if padding is not None:
        group.WaveformPaddingValue = np.int16(padding).tobytes()
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.9.1.1", pydicom.uid.generate_uid()
    data.PatientID, data.PatientSex, data.PatientAge, data.Modality = "D1", "M", "063Y", "ECG"
    data.WaveformSequence = Sequence([group])
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID, data.file_meta.MediaStorageSOPInstanceUID = (
        data.SOPClassUID,
        data.SOPInstanceUID,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)


def test_dicom(tmp_path, rng):
    raw, src = ecg_like(rng), tmp_path / "src"
    write_dicom(src / "a.dcm", raw)
    write_dicom(src / "b.dcm", raw, sensitivity=2.0, correction=0.5, baseline=100.0)
    order = [LEADS[k] for k in (*range(6, 12), *range(6))]
    write_dicom(src / "c.dcm", raw[[*range(6, 12), *range(6)]], names=order, unit="mV", sensitivity=0.001)
    numbers = ("2:1", "2:2", "2:61", "2:62", "2:63", "5.6.3-9-64", "2:3", "2:4", "2:5", "2:6", "2:7", "2:8")
    gapped = raw.copy()
    gapped[:, 700:720] = -32768
    write_dicom(src / "d.dcm", gapped, codes=numbers, padding=-32768)
    write_dicom(src / "e.dcm", raw, unit="mm[Hg]")
    (src / "f.dcm").write_bytes(b"no DICOM")
    report, store = prepared(src, tmp_path / "store")
    skipped = dict(report.skipped())
    assert (
        skipped.keys() == {"e", "f"}
        and skipped["e"] == "lead I is not in volts"
        and "f.dcm is not a readable" in skipped["f"]
    )
    truth = raw.astype(np.float64)
    np.testing.assert_allclose(store.read(0), truth * 2.5e-3, atol=1e-3)
    np.testing.assert_allclose(store.read(1), truth * 1e-3 + 0.1, atol=1e-3)
    np.testing.assert_allclose(store.read(2), truth * 1e-3, atol=1e-3)
    gap = np.zeros(5000, bool)
    gap[700:720] = True
    np.testing.assert_allclose(store.read(3)[:, ~gap], truth[:, ~gap] * 2.5e-3, atol=1e-3)
    assert np.isnan(store.read(3)[:, gap]).all()
    assert (
        set(store.table["patient_id"]) == {"D1"}
        and set(store.table["sex"]) == {"M"}
        and set(store.table["age"]) == {63}
    )


def test_a_dicom_channel_that_begins_later(tmp_path, rng):
    """ChannelSampleSkew and ChannelTimeSkew say when the first sample of a channel was taken; half a sample is none."""
    pydicom = pytest.importorskip("pydicom")
    raw, file = ecg_like(rng), tmp_path / "src" / "a.dcm"
    write_dicom(file, raw)
    data = pydicom.dcmread(file)
    channels = data.WaveformSequence[0].ChannelDefinitionSequence
    channels[0].ChannelSampleSkew, channels[1].ChannelTimeSkew = "3", "0.004"
    channels[2].ChannelSampleSkew, channels[3].ChannelSampleSkew = "-2", "0.4"
    data.save_as(file, enforce_file_format=True)
    record, _ = DicomSource(tmp_path / "src").read("a")
    truth = (raw * 2.5e-3).astype(np.float32)
    mv = record.millivolts()
    for k, skew in enumerate((3, 2, -2, 0, 0)):
        kept = slice(skew, None) if skew > 0 else slice(0, 5000 + skew)
        np.testing.assert_allclose(mv[k, kept], np.roll(truth[k], skew)[kept], atol=1e-6)
        assert np.isnan(mv[k]).sum() == abs(skew)


def test_dicom_samples_that_are_codes(tmp_path, rng):
    """Of mu-law and A-law pydicom gives the codes as if they were samples."""
    pydicom = pytest.importorskip("pydicom")
    file = tmp_path / "src" / "a.dcm"
    write_dicom(file, ecg_like(rng))
    data = pydicom.dcmread(file)
    group = data.WaveformSequence[0]
    group.WaveformBitsAllocated, group.WaveformSampleInterpretation = 8, "MB"
    group.WaveformData = group.WaveformData[: 12 * 5000]
    data.save_as(file, enforce_file_format=True)
    with pytest.raises(RecordError, match="mu-law"):
        DicomSource(tmp_path / "src").read("a")


def test_a_real_dicom_file(tmp_path):
    """pydicom's own, of a 12-lead recorder: ten seconds at 1000 Hz and a median beat, in steps of 1.25 uV."""
    pydicom = pytest.importorskip("pydicom")
    from pydicom.data import get_testdata_file

    file = get_testdata_file("waveform_ecg.dcm", download=False)
    if file is None:
        pytest.skip("this pydicom came without it")
    shutil.copy(file, tmp_path / "a.dcm")
    record, row = DicomSource(tmp_path).read("a")
    group = pydicom.dcmread(file).WaveformSequence[0]
    raw = np.frombuffer(group.WaveformData, "<i2").reshape(10_000, 12).T
    assert record.leads == list(LEADS) and record.fs == 1000 and row["sex"] == "F" and row["age"] == 42
    np.testing.assert_allclose(record.millivolts(), raw * 1.25e-3, rtol=1e-6)
    np.testing.assert_allclose(raw[1], raw[0] + raw[2], atol=2)  # lead II is I + III: they are where they belong
