"""Stores each candidate once: `pip install paho-mqtt`, `candidates.py BROKER PORT FILE.sqlite`."""

import json
import sqlite3
import sys
from datetime import UTC, datetime

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes

store = sqlite3.connect(sys.argv[3], check_same_thread=False)
store.executescript("""create table if not exists seen (event text primary key);
    create table if not exists newest (candidate text primary key, sequence, event);""")
UPDATE = """insert into newest values (?, ?, ?) on conflict (candidate) do update
            set sequence = excluded.sequence, event = excluded.event
            where excluded.sequence > newest.sequence"""


def heard(client, _, message):
    try:
        event = json.loads(message.payload)
        data, expires = event["data"], datetime.fromisoformat(event["data"]["expires"])
        with store:  # One transaction, on the disk before the message is acknowledged.
            new = store.execute("insert or ignore into seen values (?)", [event["id"]]).rowcount
            row = (data["candidate"], data["sequence"], message.payload)
            new = new and expires > datetime.now(UTC) and store.execute(UPDATE, row).rowcount
        if new:
            print("candidate", *row[:2], flush=True)
    except (ValueError, KeyError, TypeError) as why:  # It never will be one: let it go.
        print("not a candidate:", repr(why), file=sys.stderr)
    client.ack(message.mid, message.qos)


week = mqtt.Properties(PacketTypes.CONNECT)
week.SessionExpiryInterval = 7 * 24 * 3600
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, "store-1", protocol=5, manual_ack=True)
client.on_connect = lambda *_: client.subscribe("+/v1/+/candidate", qos=1)
client.on_subscribe, client.on_message = lambda *_: print("listening", flush=True), heard
client.connect(sys.argv[1], int(sys.argv[2]), clean_start=False, properties=week)
client.loop_forever()
