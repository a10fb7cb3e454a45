"""paho-mqtt over WebSockets over TLS: python paho_wss.py PORT VERSION CA USERNAME PASSWORD CERT KEY.

VERSION is 4 (MQTT 3.1.1) or 5; what is empty is not used. Prints what CONNACK says. A client that is let in sends a message to itself first.
"""

import queue
import sys
import uuid

import paho.mqtt.client as paho

PORT, VERSION, CA, USERNAME, PASSWORD, CERT, KEY = sys.argv[1:]
WAIT = 10

answers, subscribed, messages = queue.Queue(), queue.Queue(), queue.Queue()
client = paho.Client(
    paho.CallbackAPIVersion.VERSION2,
    client_id=uuid.uuid4().hex,
    protocol=paho.MQTTv5 if VERSION == "5" else paho.MQTTv311,
    transport="websockets",
    reconnect_on_failure=False,
)
client.ws_set_options(path="/mqtt")
client.tls_set(CA, CERT or None, KEY or None)
if USERNAME:
    client.username_pw_set(USERNAME, PASSWORD)
client.on_connect = lambda _c, _u, _f, reason, _p: answers.put(reason)
client.on_subscribe = lambda *_: subscribed.put(True)
client.on_message = lambda _c, _u, message: messages.put(message.payload)
client.connect("localhost", int(PORT))
client.loop_start()
reason = answers.get(timeout=WAIT)
if reason == 0:
    topic = uuid.uuid4().hex
    client.subscribe(topic, 1)
    subscribed.get(timeout=WAIT)
    client.publish(topic, b"hi", 1)
    assert messages.get(timeout=WAIT) == b"hi"
# paho translates the return codes of MQTT 3.1.1 to reasons of MQTT 5.
code = reason.value if VERSION == "5" else {0: 0, 134: 4, 135: 5}.get(reason.value, reason.value)
print(code)
client.disconnect()
client.loop_stop()
