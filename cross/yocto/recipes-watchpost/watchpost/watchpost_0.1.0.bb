SUMMARY = "Watch list candidates from a camera"
DESCRIPTION = "Matches faces against a small, authorised, signed, expiring watch list on the camera itself and publishes only candidates over MQTT."
LICENSE = "MIT | Apache-2.0"
LIC_FILES_CHKSUM = "file://LICENSE-MIT;md5=0e51b8d7534c7f77bdeae132cff41b3d file://LICENSE-APACHE;md5=1836efb2eb779966696f473ee8540542"

# WATCHPOST_SRC: where the sources come from, as a checkout ("git://...;branch=main;protocol=https") or, for a working tree, by
# `devtool modify`.
WATCHPOST_SRC ?= "git://${TOPDIR}/watchpost;protocol=file;branch=main"
SRC_URI = "${WATCHPOST_SRC}"
SRCREV ?= "${AUTOREV}"
S = "${WORKDIR}/git"

inherit cargo cargo-update-recipe-crates systemd useradd

# Made by `bitbake -c update_crates watchpost` from Cargo.lock: the sources of all crates, with their digests.
include watchpost-crates.inc

CARGO_BUILD_FLAGS:append = " --profile dist --no-default-features --bin watchpost"
# The class looks for what was built in `release` or `debug`.
CARGO_TARGET_SUBDIR = "${CARGO_BUILD_TARGET_NAME}/dist"
CARGO_BUILD_TARGET_NAME = "${RUST_HOST_SYS}"

SYSTEMD_SERVICE:${PN} = "watchpost.service"
# Off until somebody has configured it.
SYSTEMD_AUTO_ENABLE = "disable"

USERADD_PACKAGES = "${PN}"
USERADD_PARAM:${PN} = "--system --no-create-home --home-dir /var/lib/watchpost --shell /sbin/nologin --user-group --groups video watchpost"

do_install:append() {
    install -D -m 0644 ${S}/config/watchpost.toml ${D}${sysconfdir}/watchpost/watchpost.toml
    install -D -m 0644 ${S}/config/watchpost.service ${D}${systemd_system_unitdir}/watchpost.service
    install -D -m 0644 ${S}/cross/package/60-watchpost.rules ${D}${nonarch_base_libdir}/udev/rules.d/60-watchpost.rules
}

CONFFILES:${PN} = "${sysconfdir}/watchpost/watchpost.toml"
FILES:${PN} += "${nonarch_base_libdir}/udev/rules.d ${systemd_system_unitdir}"
RDEPENDS:${PN} += "ca-certificates"
