// MQTT.js against a broker: node mqttjs.js HOST PORT VERSION SCENARIO, with its package on NODE_PATH.
//
// VERSION is 3.1.1 or 5, SCENARIO one of the functions at the end. Ends with 0 if the broker did all
// that the scenario asks for, else with the failed assertion. Nothing here sleeps: each step waits for
// what it needs.
'use strict';

const assert = require('node:assert/strict');
const { randomUUID } = require('node:crypto');
const mqtt = require('mqtt');

const WAIT_MS = 10_000;
const [host, port, version, scenario] = process.argv.slice(2);
const v5 = version === '5';

const unique = (name) => `${name}-${randomUUID()}`;

// `promise`, or an error that says what did not come.
function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no ${what} within ${WAIT_MS} ms`)), WAIT_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// A connected client whose messages are waited for.
class Client {
  // What arrived and nobody asked for yet, and who asks for what has not arrived yet.
  messages = [];
  waiting = [];

  static async open({ clientId = unique('client'), persistent = false, will } = {}) {
    const self = new Client();
    self.client = mqtt.connect({
      host,
      port: Number(port),
      protocolVersion: v5 ? 5 : 4,
      clientId,
      clean: !persistent,
      reconnectPeriod: 0,
      ...(v5 && { properties: { sessionExpiryInterval: persistent ? 60 : 0 } }),
      ...(will && { will: { topic: will, payload: 'gone', qos: 1 } }),
    });
    // Before the connection is there: a resumed session sends its messages at once.
    self.client.on('message', (_, payload, packet) => {
      const message = { ...packet, text: payload.toString() };
      const next = self.waiting.shift();
      if (next) next(message);
      else self.messages.push(message);
    });
    const connack = new Promise((resolve, reject) => {
      self.client.once('connect', resolve);
      self.client.once('error', reject);
    });
    self.sessionPresent = (await within(connack, 'CONNACK')).sessionPresent;
    return self;
  }

  async subscribe(topic, qos = 2, properties) {
    const granted = await within(this.client.subscribeAsync(topic, { qos, properties }), 'SUBACK');
    assert.deepEqual(granted.map((each) => each.qos), [qos]);
  }

  publish(topic, payload, options = {}) {
    return within(this.client.publishAsync(topic, payload, { qos: 1, ...options }), 'acknowledgement');
  }

  message() {
    if (this.messages.length) return Promise.resolve(this.messages.shift());
    return within(new Promise((resolve) => this.waiting.push(resolve)), 'message');
  }

  // The next message is this one.
  async expect(text, qos) {
    const message = await this.message();
    assert.equal(message.text, text);
    if (qos !== undefined) assert.equal(message.qos, qos, text);
    return message;
  }

  disconnect() {
    return within(this.client.endAsync(), 'end of the connection');
  }

  // Ends as in a power cut: no DISCONNECT.
  die() {
    this.client.stream.destroy();
  }
}

const scenarios = {
  // A message arrives at the lower of its own QoS and the subscription's.
  async at_every_qos() {
    const publisher = await Client.open();
    for (const granted of [0, 1, 2]) {
      const topic = unique('qos');
      const subscriber = await Client.open();
      await subscriber.subscribe(topic, granted);
      for (const qos of [0, 1, 2]) {
        await publisher.publish(topic, `at ${qos}`, { qos });
        await subscriber.expect(`at ${qos}`, Math.min(qos, granted));
      }
      await subscriber.disconnect();
    }
  },

  // A retained message is there for later subscribers until an empty one clears it.
  async retained() {
    const topic = unique('retained');
    const publisher = await Client.open();
    await publisher.publish(topic, 'first', { retain: true });
    await publisher.publish(topic, 'kept', { retain: true });

    const later = await Client.open();
    await later.subscribe(topic);
    assert.equal((await later.expect('kept')).retain, true);
    await publisher.publish(topic, 'live', { retain: true });
    assert.equal((await later.expect('live')).retain, false);

    await publisher.publish(topic, '', { retain: true });
    const last = await Client.open();
    await last.subscribe(topic);
    await publisher.publish(topic, 'marker');
    await last.expect('marker');
  },

  // A client that vanishes leaves its will; one that says goodbye does not.
  async will() {
    const topic = unique('will');
    const watcher = await Client.open();
    await watcher.subscribe(topic);

    await (await Client.open({ will: topic })).disconnect();
    await watcher.publish(topic, 'marker');
    await watcher.expect('marker');

    (await Client.open({ will: topic })).die();
    await watcher.expect('gone', 1);
  },

  // Each message goes to one member of the group, and no member is left out.
  async shared_subscription() {
    const topic = unique('shared');
    const got = [];
    let done;
    const complete = new Promise((resolve) => (done = resolve));
    const expected = Array.from({ length: 20 }, (_, number) => `${number}`);
    for (const name of ['first', 'second']) {
      const member = await Client.open();
      member.client.on('message', (_, payload) => {
        got.push([name, payload.toString()]);
        if (got.length >= expected.length) done();
      });
      await member.subscribe(`$share/group/${topic}`, 1);
    }
    const publisher = await Client.open();
    for (const payload of expected) await publisher.publish(topic, payload);

    await within(complete, 'last message');
    assert.deepEqual(got.map(([, payload]) => Number(payload)).sort((a, b) => a - b), expected.map(Number));
    assert.equal(new Set(got.map(([name]) => name)).size, 2, 'one member got everything');
  },

  // What was published while a client was away is there when it is back.
  async session_resumed() {
    const topic = unique('session');
    const clientId = unique('persistent');
    let sleeper = await Client.open({ clientId, persistent: true });
    assert.equal(sleeper.sessionPresent, false);
    await sleeper.subscribe(topic, 2);
    await sleeper.disconnect();

    const publisher = await Client.open();
    await publisher.publish(topic, 'one', { qos: 1 });
    await publisher.publish(topic, 'two', { qos: 2 });

    sleeper = await Client.open({ clientId, persistent: true });
    assert.equal(sleeper.sessionPresent, true);
    await sleeper.expect('one', 1);
    await sleeper.expect('two', 2);
    await publisher.publish(topic, 'three');
    await sleeper.expect('three', 1);
  },

  // The properties of a message arrive as they were sent.
  async properties_arrive() {
    const topic = unique('properties');
    const subscriber = await Client.open();
    await subscriber.subscribe(topic, 1, { subscriptionIdentifier: 4711 });
    await (await Client.open()).publish(topic, 'payload', {
      properties: {
        userProperties: { colour: ['grün', 'red'], empty: '' },
        contentType: 'text/plain',
        responseTopic: 'answers/here',
        correlationData: Buffer.from([0, 1, 255]),
        payloadFormatIndicator: true,
        messageExpiryInterval: 60,
      },
    });
    const { properties } = await subscriber.expect('payload');
    assert.deepEqual({ ...properties.userProperties }, { colour: ['grün', 'red'], empty: '' });
    assert.equal(properties.contentType, 'text/plain');
    assert.equal(properties.responseTopic, 'answers/here');
    assert.deepEqual([...properties.correlationData], [0, 1, 255]);
    assert.equal(properties.payloadFormatIndicator, true);
    assert.ok(properties.messageExpiryInterval >= 50 && properties.messageExpiryInterval <= 60);
    assert.deepEqual([properties.subscriptionIdentifier].flat(), [4711]);
  },
};

scenarios[scenario]().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
