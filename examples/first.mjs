// Writes to bob, and waits for what bob says.
import { Client } from "tidings";
import WebSocket from "ws"; // in Node; a browser has one

const client = new Client({
  url: `ws://${process.env.SERVER}/v1`, // wss://chat.example/v1
  user: "alice",
  device: 2,
  token: process.env.TOKEN, // or a function that fetches one
  webSocket: (url, protocol) => new WebSocket(url, protocol),
});

let ours; // the number of our message: what bob answers has a larger one

client.on(async (event) => {
  if (event.type === "rejected") throw event.error;
  if (event.type !== "message" || event.message.senderName !== "bob" || !(event.message.seq > ours)) return;
  console.log(`${event.message.senderName}: ${event.message.text}`);
  setTimeout(() => client.close());
});

await client.start();
const { seq } = await client.send({ user: "bob" }, "hello from TypeScript");
ours = seq;
console.log(`durable as number ${seq}`);
