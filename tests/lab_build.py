"""A build as labs of 2023 have them: everything that /stage can be asked for by name, small."""

from __future__ import annotations

import io
import lzma
import zipfile

from tests.builds import Build, make_build, noise, tarball

SUITES = {"bvt": ["server/site_tests/a/control", "client/site_tests/b/control.bvt"], "empty": []}
CONTROLS = {
    "server/site_tests/a/control": b"NAME = 'a'\n",
    "client/site_tests/b/control.bvt": "NAME = 'b' # \u00e4\n".encode(),
    "client/site_tests/b/control": b"NAME = 'b, too'\n",
}


def make_lab_build(version: str) -> Build:
    """A build of that version; what /download stages of it, and all the rest."""
    build = make_build(version=version)
    suites = {f"autotest/{path}": text for path, text in CONTROLS.items()}
    suites["autotest/test_suites/suite_to_control_file_map"] = repr(SUITES).encode()
    suites["autotest/test_suites/dependency_info"] = b"{}"
    suites["autotest/not_control"] = b"no"
    images = {"chromiumos_test_image.bin": noise(5000, "test"), "chromiumos_image.bin": noise(5000, "dev")}
    objects = {
        "test_suites.tar.bz2": tarball(suites),
        "control_files.tar": tarball({"autotest/control_files_marker": b"here"}, ""),
        "autotest_packages.tar": tarball(
            {"autotest/packages/test-a.tar.bz2": b"package", "autotest/packages/packages.checksum": b"sums"}, ""
        ),
        "autotest_server_package.tar.bz2": noise(3000, "server"),
        "au_control.tar.bz2": tarball({"autotest/au": b"au"}),
        "firmware_from_source.tar.bz2": noise(3000, "firmware"),
        "image.zip": zip_of({**images, "chromiumos_base_image.bin": b"of the zip", "other": b"x"}),
        "chromiumos_base_image.tar.xz": lzma.compress(tarball({"chromiumos_base_image.bin": b"of its own"}, "")),
        "recovery_image.tar.xz": lzma.compress(tarball({"recovery_image.bin": b"recovery"}, "")),
        "chromeos_1.2.3_board_recovery_stable-channel_mp-v1.bin": noise(3000, "mp"),
        "chromeos_1.2.3_board_recovery_stable-channel_mp-v2.bin": noise(3000, "mp2"),
        "debug.tgz": tarball({"debug/breakpad/a.sym": b"symbols", "debug/tests/b": b"not"}, "gz"),
        "debug_breakpad.tar.xz": lzma.compress(tarball({"debug/breakpad/only.sym": b"symbols only"}, "")),
        "ChromeOS-factory-1.zip": zip_of({"factory_test/chromiumos_factory_image.bin": b"factory", "x": b"x"}),
        "factory_image.zip": zip_of({"factory_shim/factory_install_shim.bin": b"shim"}),
        "full_dev_part_KERN.bin.gz": noise(3000, "kern"),
        "full_dev_part_ROOT.bin.gz": noise(3000, "root"),
        "paygen_au_stable_control.tar.bz2": tarball({"autotest/paygen_stable": b"paygen"}),
        "notes of the release!.txt": b"spaces",
        "100%.txt": b"percent",
        "sub/deeper/file.txt": b"nested",
        "a{b}.txt": b"braces",
    }
    build.objects.update(objects)
    return build


def zip_of(files: dict[str, bytes]) -> bytes:
    """A zip file of ``files``."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return buffer.getvalue()
