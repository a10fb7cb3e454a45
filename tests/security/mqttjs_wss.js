// MQTT.js over WebSockets over TLS: node mqttjs_wss.js PORT VERSION CA USERNAME PASSWORD CERT KEY.
//
// VERSION is 4 (MQTT 3.1.1) or 5; what is empty is not used. Prints what CONNACK says. A client that is let in sends a message to itself first.

const fs = require("fs");
const mqtt = require("mqtt");

const [port, version, ca, username, password, cert, key] = process.argv.slice(2);
const read = (file) => (file ? fs.readFileSync(file) : undefined);
const tls = { ca: read(ca), cert: read(cert), key: read(key) };

const client = mqtt.connect(`wss://localhost:${port}/mqtt`, {
  protocolVersion: Number(version),
  username: username || undefined,
  password: username ? password : undefined,
  reconnectPeriod: 0,
  connectTimeout: 10000,
  wsOptions: tls,
  ...tls,
});

const end = (code) => {
  console.log(code);
  process.exit(0);
};
setTimeout(() => {
  console.error("no answer in time");
  process.exit(1);
}, 15000);
client.on("error", (error) => {
  if (error.code === undefined) {
    console.error(error);
    process.exit(1);
  }
  end(error.code);
});
client.on("connect", async () => {
  const topic = `topic-${process.pid}`;
  client.on("message", (_topic, payload) => end(String(payload) === "hi" ? 0 : 1));
  await client.subscribeAsync(topic, { qos: 1 });
  await client.publishAsync(topic, "hi", { qos: 1 });
});
