include $(sort $(wildcard $(BR2_EXTERNAL_WATCHPOST_PATH)/package/*/*.mk))
