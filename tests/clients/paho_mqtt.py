"""paho-mqtt against a broker: python paho_mqtt.py HOST PORT VERSION SCENARIO.

VERSION is 3.1.1 or 5, SCENARIO one of the functions at the end. Ends with 0 if the broker did all that
the scenario asks for, else with the failed assertion. Nothing here sleeps: each step waits for what it
needs.
"""

import queue
import sys
import threading
import uuid

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

WAIT = 10  # seconds that any one step may take
HOST, PORT, VERSION, SCENARIO = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
V5 = VERSION == "5"


def unique(name):
    return f"{name}-{uuid.uuid4().hex[:12]}"


def properties(packet, **values):
    """The properties of a packet type, or None below MQTT 5."""
    if not V5:
        return None
    result = Properties(packet)
    for name, value in values.items():
        setattr(result, name, value)
    return result


class Client:
    """A connected client whose messages and answers are waited for."""

    def __init__(self, name="client", persistent=False, will=None):
        self.messages = queue.Queue()
        self.granted = queue.Queue()
        self.connected = queue.Queue()
        self.gone = threading.Event()
        keywords = {} if V5 else {"clean_session": not persistent}
        self.client = paho.Client(
            paho.CallbackAPIVersion.VERSION2,
            client_id=name if persistent else unique(name),
            protocol=paho.MQTTv5 if V5 else paho.MQTTv311,
            reconnect_on_failure=False,
            **keywords,
        )
        self.client.on_connect = lambda _c, _u, flags, reason, _p: self.connected.put((flags, reason))
        self.client.on_message = lambda _c, _u, message: self.messages.put(message)
        self.client.on_subscribe = lambda _c, _u, _mid, reasons, _p: self.granted.put(reasons)
        self.client.on_disconnect = lambda *_: self.gone.set()
        if will:
            self.client.will_set(will, "gone", qos=1)
        keywords = {}
        if V5:
            keywords["clean_start"] = not persistent
            keywords["properties"] = properties(
                PacketTypes.CONNECT, SessionExpiryInterval=60 if persistent else 0
            )
        self.client.connect(HOST, PORT, keepalive=30, **keywords)
        self.client.loop_start()
        flags, reason = self.connected.get(timeout=WAIT)
        assert reason == 0, f"CONNACK: {reason}"
        self.session_present = flags.session_present

    def subscribe(self, topic, qos=2, identifier=None):
        if V5:
            keywords = {"SubscriptionIdentifier": identifier} if identifier else {}
            self.client.subscribe(
                topic,
                options=SubscribeOptions(qos=qos),
                properties=properties(PacketTypes.SUBSCRIBE, **keywords),
            )
        else:
            self.client.subscribe(topic, qos)
        reasons = self.granted.get(timeout=WAIT)
        assert [reason.value for reason in reasons] == [qos], f"SUBACK: {reasons}"

    def publish(self, topic, payload, qos=1, retain=False, **values):
        sent = self.client.publish(
            topic, payload, qos, retain, properties(PacketTypes.PUBLISH, **values)
        )
        sent.wait_for_publish(WAIT)
        assert sent.is_published(), f"{payload} is not acknowledged"

    def message(self):
        return self.messages.get(timeout=WAIT)

    def expect(self, payload, qos=None):
        """The next message is this one."""
        message = self.message()
        assert message.payload == payload.encode(), f"{message.payload} came, not {payload}"
        assert qos is None or message.qos == qos, f"{payload} came at QoS {message.qos}, not {qos}"
        return message

    def disconnect(self):
        self.client.disconnect()
        assert self.gone.wait(WAIT)
        self.client.loop_stop()

    def die(self):
        """Ends as in a power cut: no DISCONNECT."""
        self.client.socket().shutdown(2)
        assert self.gone.wait(WAIT)
        self.client.loop_stop()


def at_every_qos():
    """A message arrives at the lower of its own QoS and the subscription's."""
    publisher = Client()
    for granted in (0, 1, 2):
        topic = unique("qos")
        subscriber = Client()
        subscriber.subscribe(topic, granted)
        for qos in (0, 1, 2):
            publisher.publish(topic, f"at {qos}", qos)
            subscriber.expect(f"at {qos}", min(qos, granted))
        subscriber.disconnect()


def retained():
    """A retained message is there for later subscribers until an empty one clears it."""
    topic = unique("retained")
    publisher = Client()
    publisher.publish(topic, "first", retain=True)
    publisher.publish(topic, "kept", retain=True)

    later = Client()
    later.subscribe(topic)
    assert later.expect("kept").retain
    publisher.publish(topic, "live", retain=True)
    assert not later.expect("live").retain

    publisher.publish(topic, "", retain=True)
    last = Client()
    last.subscribe(topic)
    publisher.publish(topic, "marker")
    last.expect("marker")


def will():
    """A client that vanishes leaves its will; one that says goodbye does not."""
    topic = unique("will")
    watcher = Client()
    watcher.subscribe(topic)

    Client(will=topic).disconnect()
    watcher.client.publish(topic, "marker", 1)
    watcher.expect("marker")

    Client(will=topic).die()
    watcher.expect("gone", 1)


def shared_subscription():
    """Each message goes to one member of the group, and no member is left out."""
    topic = unique("shared")
    members = [Client(), Client()]
    for member in members:
        member.subscribe(f"$share/group/{topic}", 1)
    publisher = Client()
    expected = {f"{number}".encode() for number in range(20)}
    for payload in sorted(expected):
        publisher.publish(topic, payload)

    everything = queue.Queue()
    for number, member in enumerate(members):
        threading.Thread(target=forward, args=(member, number, everything), daemon=True).start()
    got = [everything.get(timeout=WAIT) for _ in expected]
    assert {payload for _, payload in got} == expected, got
    assert {number for number, _ in got} == {0, 1}, got
    assert everything.empty(), "a message came twice"


def forward(member, number, everything):
    while True:
        everything.put((number, member.messages.get().payload))


def session_resumed():
    """What was published while a client was away is there when it is back."""
    topic, name = unique("session"), unique("persistent")
    sleeper = Client(name, persistent=True)
    assert not sleeper.session_present
    sleeper.subscribe(topic, 2)
    sleeper.disconnect()

    publisher = Client()
    publisher.publish(topic, "one", 1)
    publisher.publish(topic, "two", 2)

    sleeper = Client(name, persistent=True)
    assert sleeper.session_present
    sleeper.expect("one", 1)
    sleeper.expect("two", 2)
    publisher.publish(topic, "three", 1)
    sleeper.expect("three", 1)


def properties_arrive():
    """The properties of a message arrive as they were sent, user properties in their order."""
    topic = unique("properties")
    subscriber = Client()
    subscriber.subscribe(topic, 1, identifier=4711)
    user = [("colour", "grün"), ("colour", "red"), ("empty", "")]
    Client().publish(
        topic,
        "payload",
        UserProperty=user,
        ContentType="text/plain",
        ResponseTopic="answers/here",
        CorrelationData=b"\x00\x01\xff",
        PayloadFormatIndicator=1,
        MessageExpiryInterval=60,
    )
    got = subscriber.expect("payload").properties
    assert got.UserProperty == user, got
    assert got.ContentType == "text/plain", got
    assert got.ResponseTopic == "answers/here", got
    assert got.CorrelationData == b"\x00\x01\xff", got
    assert got.PayloadFormatIndicator == 1, got
    assert 50 <= got.MessageExpiryInterval <= 60, got
    assert got.SubscriptionIdentifier == [4711], got


SCENARIOS = [at_every_qos, retained, will, shared_subscription, session_resumed, properties_arrive]
next(scenario for scenario in SCENARIOS if scenario.__name__ == SCENARIO)()
