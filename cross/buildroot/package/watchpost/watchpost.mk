################################################################################
#
# watchpost
#
################################################################################

WATCHPOST_VERSION = 0.1.0
# The checkout that this folder is part of.
WATCHPOST_SITE = $(BR2_EXTERNAL_WATCHPOST_PATH)/../..
WATCHPOST_SITE_METHOD = local
WATCHPOST_OVERRIDE_SRCDIR_RSYNC_EXCLUSIONS = --exclude target
WATCHPOST_LICENSE = MIT or Apache-2.0
WATCHPOST_LICENSE_FILES = LICENSE-MIT LICENSE-APACHE
WATCHPOST_CARGO_BUILD_OPTS = --profile dist --no-default-features --bin watchpost

define WATCHPOST_INSTALL_TARGET_CMDS
	$(INSTALL) -D -m 0755 $(@D)/target/$(RUSTC_TARGET_NAME)/dist/watchpost $(TARGET_DIR)/usr/bin/watchpost
	$(INSTALL) -D -m 0644 $(@D)/config/watchpost.toml $(TARGET_DIR)/etc/watchpost/watchpost.toml
	$(INSTALL) -D -m 0644 $(@D)/cross/package/60-watchpost.rules $(TARGET_DIR)/usr/lib/udev/rules.d/60-watchpost.rules
endef

define WATCHPOST_INSTALL_INIT_SYSTEMD
	$(INSTALL) -D -m 0644 $(@D)/config/watchpost.service $(TARGET_DIR)/usr/lib/systemd/system/watchpost.service
endef

define WATCHPOST_USERS
	watchpost -1 watchpost -1 * /var/lib/watchpost - video Watchpost camera daemon
endef

define WATCHPOST_PERMISSIONS
	/var/lib/watchpost d 750 watchpost watchpost - - - - -
endef

$(eval $(cargo-package))
