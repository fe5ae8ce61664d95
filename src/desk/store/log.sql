-- Records of the devices' audit logs, by device, in the order in which they came.
CREATE INDEX event_of_log ON event (device) WHERE kind = 'audit-entry';
