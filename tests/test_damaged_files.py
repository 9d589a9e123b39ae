"""Every file of a store, of a run and of a call's arguments, damaged in every way, before every command that reads it:
one line that names the file and exit status 1, or what comes of the sound file; never a traceback or another result.

By default each file meets a few kinds of damage and one command; `-m slow` tries them all.
"""

import zlib

import pytest
import torch
from damaged_tree import COMMANDS, DAMAGE, READ_BY, contents, make, table, try_one, wanted


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("sound")
    make(folder)
    yield folder
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def want(sound, tmp_path_factory):
    work = tmp_path_factory.mktemp("wanted") / "tree"
    return {name: wanted(sound, work, name) for name in COMMANDS}


def test_the_table_has_every_file(sound):
    rows = list(table(sound))
    files = {file for _, file, _ in rows}
    assert files == {f for f in contents(sound) if f.partition("/")[0] in READ_BY} and len(files) > 40
    assert {name for name, _, _ in rows} == set(COMMANDS) and {d for _, _, d in rows} == set(DAMAGE)


def some(rows):
    """Of each file and kind of damage one command, in turn, and of these every third."""
    chosen = {}
    for name, file, damage in rows:
        chosen.setdefault((file, damage), []).append(name)
    for (file, damage), names in chosen.items():
        draw = zlib.crc32(f"{file} {damage}".encode())
        if draw % 3 == 0 or file.endswith(("config.yaml", "store.json")):
            yield names[draw // 3 % len(names)], file, damage


@pytest.mark.parametrize("part", ["store", "run", "e.", "mine"])
def test_some_damage(sound, want, tmp_path, part):
    _try(sound, want, tmp_path, [row for row in some(table(sound)) if row[1].startswith(part)])


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_every_damage(sound, want, tmp_path, command):
    _try(sound, want, tmp_path, [row for row in table(sound) if row[0] == command])


def _try(sound, want, tmp_path, rows):
    assert rows
    wrong = []
    for name, file, damage in rows:
        said = try_one(sound, tmp_path / "tree", name, file, damage, want[name])
        if said:
            wrong.append(f"{name}, {file} {damage}: {said}")
    assert not wrong, "\n".join(wrong)
    print(f"{len(rows)} cases")
