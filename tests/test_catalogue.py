"""The catalogue: which objects are which artifact, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from artifacts.catalogue import file_artifact, read_catalogue
from staging.archives import ArchiveUrl
from staging.errors import ConfigurationError, UnknownArtifact
from tests.builds import FULL_PAYLOAD, MTON_PAYLOAD, NTON_PAYLOAD

URL = ArchiveUrl.parse("gs://bucket/x86-mario-release/R17-1413.0.0-a1-b1346")


@pytest.mark.parametrize(
    ("object_name", "artifact", "destination"),
    [
        (FULL_PAYLOAD, "full_payload", "update.gz"),
        ("stateful.tgz", "stateful", "stateful.tgz"),
        ("test_suites.tar.bz2", "test_suites", ""),
        (NTON_PAYLOAD, "nton_payload", "au/R17-1413.0.0-a1-b1346_nton/update.gz"),
        (MTON_PAYLOAD, "mton_payload", "au/R17-1413.0.0-a1-b1346_mton/update.gz"),
        (
            "chromeos_R17-1_R17-1_x86-alex_he_rt_delta_dev.bin",
            "nton_payload",
            "au/R17-1413.0.0-a1-b1346_nton/update.gz",
        ),
        ("autotest.tar.bz2", "autotest", ""),
        ("image.zip", None, None),
        ("sub/stateful.tgz", None, None),
        ("stateful.tgz.md5", None, None),
        ("chromeos_R17-1_R17-1_x86/x_delta_dev.bin", None, None),
    ],
)
def test_the_default_catalogue_knows_the_objects_of_a_build(
    object_name: str, artifact: str | None, destination: str | None
) -> None:
    matching = [entry for entry in read_catalogue().of_a_download if entry.chosen([object_name])]
    assert [entry.name for entry in matching] == ([artifact] if artifact else [])
    for entry in matching:
        assert entry.destination_of(URL, object_name) == destination


def test_a_download_stages_what_the_original_did() -> None:
    entries = {entry.name: (entry.synchronous, entry.required) for entry in read_catalogue().of_a_download}
    assert entries == {
        "full_payload": (True, True),
        "stateful": (True, True),
        "test_suites": (True, True),
        "nton_payload": (False, False),
        "mton_payload": (False, False),
        "autotest": (False, True),
    }


PARTITIONS = ["full_dev_part_KERN.bin.gz", "full_dev_part_ROOT.bin.gz"]
GOOD = 'name = "one"\npattern = "*.bin"\n'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("= nonsense", "is not TOML"),
        ("", "holds no [[artifact]]"),
        ("[artifact]\n" + GOOD, "holds no [[artifact]]"),
        ("artifact = [3]", "artifact 1: is not a table"),
        ("[[artefact]]\n" + GOOD, "holds 'artefact'"),
        ('[[artifact]]\nname = "one"', "artifact 1 (one): lacks 'pattern'"),
        (f"[[artifact]]\n{GOOD}[[artifact]]\n{GOOD}", "names 'one' twice"),
        (f"[[artifact]]\n{GOOD}synchronus = true", "artifact 1 (one): has no field 'synchronus'"),
        (f'[[artifact]]\n{GOOD}synchronous = "yes"', "synchronous should be true or false, not 'yes'"),
        (f"[[artifact]]\n{GOOD}destination = 3", "destination should be a string, not 3"),
        (f'[[artifact]]\n{GOOD}unpack = true\nexcludes = "a"', "excludes should be a list of strings, not 'a'"),
        (f'[[artifact]]\n{GOOD}excludes = ["a"]', "excludes says what not to unpack"),
        (f'[[artifact]]\n{GOOD}destination = "../x"', "'../x' leaves the build's directory"),
        (f'[[artifact]]\n{GOOD}destination = "/x"', "'/x' leaves the build's directory"),
        (f'[[artifact]]\n{GOOD}destination = ".devserver/x"', "is the devserver's own"),
        (f'[[artifact]]\n{GOOD}destination = "{{board}}/x"', "destination holds {board}"),
        (f'[[artifact]]\n{GOOD}behaviour = "magic"', "behaviour should be one of au_test_payload, autotest"),
        (f'[[artifact]]\n{GOOD}behaviour = "autotest"', "behaviour autotest goes with unpack = true"),
        ('[[artifact]]\nname = "a/b"\npattern = "*"', "name should be letters"),
        ('[[artifact]]\nname = "a"\npattern = ""', "pattern is empty"),
        (f'[[artifact]]\n{GOOD}includes = ["a"]', "includes says what alone to unpack"),
        (f'[[artifact]]\n{GOOD}unpack = true\nincludes = ["../a"]', "'../a' leaves the build's directory"),
        (f'[[artifact]]\n{GOOD}brings = ["two"]', "bring 'two', which it does not hold"),
        (f"[[artifact]]\n{GOOD}on_request = true\nrequired = false", "on_request goes without required = false"),
        (f'[[artifact]]\n{GOOD}several = true\ndestination = "x"', "put {name} into destination"),
        (f'[[artifact]]\n{GOOD}otherwise = "{{board}}"', "a field in pattern or otherwise is one letter"),
    ],
)
def test_a_mistake_is_refused_with_file_entry_and_reason(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "catalogue.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as refusal:
        read_catalogue(path)
    assert str(refusal.value).startswith(str(path))
    assert reason in str(refusal.value)


@pytest.mark.parametrize(
    ("artifact", "objects", "chosen"),
    [
        ("test_image", ["image.zip", "chromiumos_test_image.tar.xz"], ["chromiumos_test_image.tar.xz"]),
        ("test_image", ["image.zip", "chromiumos_base_image.tar.xz"], ["image.zip"]),
        ("test_image", ["chromiumos_base_image.tar.xz"], []),
        ("quick_provision", [*PARTITIONS, "x"], PARTITIONS),
        ("signed_image", ["chromeos_1_recovery_mp-v2.bin", "x.zip"], ["chromeos_1_recovery_mp-v2.bin"]),
    ],
)
def test_an_artifact_takes_the_objects_that_are_its(artifact: str, objects: list[str], chosen: list[str]) -> None:
    [entry] = read_catalogue().named([artifact])
    assert entry.chosen(objects) == chosen


@pytest.mark.parametrize(
    ("pattern", "objects", "chosen"),
    [
        ("a b!.txt", ["a b!.txt", "a"], ["a b!.txt"]),
        ("a{b}.txt", ["a{b}.txt", "ab.txt", "axb.txt"], ["a{b}.txt"]),
        ("x{a}_*", ["x{a}_1", "xx_1"], ["x{a}_1"]),
        ("*.gz", ["a.gz", "sub/b.gz", "c"], ["a.gz"]),
        ("sub/?.gz", ["a.gz", "sub/b.gz", "sub/bc.gz"], ["sub/b.gz"]),
        ("[a].txt", ["a.txt", "[a].txt"], ["[a].txt"]),
    ],
)
def test_a_files_pattern_knows_two_signs_and_takes_all_else_as_it_is(
    pattern: str, objects: list[str], chosen: list[str]
) -> None:
    assert file_artifact(pattern).chosen(objects) == chosen


@pytest.mark.parametrize(("near", "known"), [("full_paylod", "full_payload"), ("Stateful", "stateful")])
def test_an_unknown_name_is_told_the_nearest(near: str, known: str) -> None:
    with pytest.raises(UnknownArtifact, match=f"did you mean .*{known}"):
        read_catalogue().named([near])
