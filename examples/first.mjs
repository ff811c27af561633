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

const chat = client.conversationOf({ user: "bob" });
let ours, bobs; // the number of our message, and what bob said there last: an answer has a larger number than ours

function answered() {
  if (!ours || !bobs || bobs.seq < ours) return;
  console.log(`${bobs.senderName}: ${bobs.text}`);
  setTimeout(() => client.close());
}

client.on(async (event) => {
  if (event.type === "rejected") throw event.error;
  if (event.type !== "message" || event.message.conversation !== chat || event.message.senderName !== "bob") return;
  bobs = event.message;
  answered();
});

await client.start();
({ seq: ours } = await client.send({ user: "bob" }, "hello from TypeScript"));
console.log(`durable as number ${ours}`);
answered(); // bob may have been quicker than we heard
